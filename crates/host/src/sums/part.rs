//! Part of a table in the making, so that two threads can make one.

use std::io;
use std::ops::Range;

use super::{BATCH, CHUNK, Sum, Work, span, sum};

/// From how many chunks on two threads share them: a thread costs as much as a few of them.
const TWO_THREADS: usize = 256;

/// Some of a table's chunks, those from `first` on, while their digests are being set.
pub(super) struct Part<'a> {
    len: u64,
    first: usize,
    chunks: &'a mut [Sum],
    buffer: Vec<u8>,
    /// What it cost so far.
    pub(super) work: Work,
}

impl<'a> Part<'a> {
    pub(super) fn new(len: u64, first: usize, chunks: &'a mut [Sum]) -> Self {
        Self {
            len,
            first,
            chunks,
            buffer: vec![0; BATCH * CHUNK as usize],
            work: Work::default(),
        }
    }

    /// Sets the digests of the chunks of these ranges.
    pub(super) fn fill(
        &mut self,
        ranges: &[Range<usize>],
        known: &impl Fn(usize) -> Option<Sum>,
        read: &impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        // Chunks waiting to be read, one after the other.
        let mut run = 0..0;
        for chunk in ranges.iter().cloned().flatten() {
            if let Some(sum) = known(chunk) {
                self.chunks[chunk - self.first] = sum;
                self.work.inherited += 1;
                continue;
            }
            if run.end != chunk || run.len() == BATCH {
                self.digest(run, read)?;
                run = chunk..chunk;
            }
            run.end = chunk + 1;
            self.work.read += 1;
        }
        self.digest(run, read)
    }

    /// Reads chunks and sets their digests.
    fn digest(
        &mut self,
        run: Range<usize>,
        read: &impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        let start = span(run.start, self.len).start;
        let end = span(run.end - 1, self.len).end;
        let bytes = &mut self.buffer[..(end - start) as usize];
        read(bytes, start)?;
        let sums = bytes.chunks(CHUNK as usize).map(sum);
        let run = run.start - self.first..run.end - self.first;
        for (slot, sum) in self.chunks[run].iter_mut().zip(sums) {
            *slot = sum;
        }
        Ok(())
    }
}

/// The chunk before which half of the chunks in these ranges lie, if it is worth a thread.
pub(super) fn middle(ranges: &[Range<usize>]) -> Option<usize> {
    let all: usize = ranges.iter().map(Range::len).sum();
    let mut left = all / 2;
    if all < TWO_THREADS {
        return None;
    }
    let half = ranges.iter().find_map(|range| {
        let inside = left < range.len();
        let at = range.start + left;
        left = left.saturating_sub(range.len());
        inside.then_some(at)
    });
    half.filter(|middle| *middle > 0)
}

/// The ranges before and from `middle` on.
pub(super) fn cut(
    ranges: &[Range<usize>],
    middle: usize,
) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let before = ranges
        .iter()
        .map(|range| range.start.min(middle)..range.end.min(middle));
    let from = ranges
        .iter()
        .map(|range| range.start.max(middle)..range.end.max(middle));
    (before.collect(), from.collect())
}

#[cfg(test)]
mod test {
    use super::{TWO_THREADS, cut, middle};

    #[test]
    fn ranges_are_cut_in_the_middle_of_what_they_hold() {
        let (many, gap) = (TWO_THREADS, 10 * TWO_THREADS);
        assert_eq!(middle(&[]), None);
        assert_eq!(middle(&[0..5, 5..many - 1]), None);
        assert_eq!(middle(&[0..1, 1..many]), Some(many / 2));
        let ranges = [0..many, gap..gap + 3 * many];
        assert_eq!(middle(&ranges), Some(gap + many));
        let (before, from) = cut(&ranges, gap + many);
        assert_eq!(before, [0..many, gap..gap + many]);
        assert_eq!(from[1], gap + many..gap + 3 * many);
        assert!(from[0].is_empty());
    }
}
