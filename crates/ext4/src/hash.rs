//! The hash of names that indexed directories are sorted by: half of an MD4.

/// `dx_root_info.hash_version`: half MD4.
pub(crate) const HALF_MD4: u8 = 1;

/// The hash of a name and, to order names of the same hash, the minor hash.
///
/// `signed` says how the bytes of names are taken, which depends on the machine that made the
/// file system.
pub(crate) fn half_md4(name: &[u8], seed: [u32; 4], signed: bool) -> (u32, u32) {
    let mut state = if seed == [0; 4] {
        [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]
    } else {
        seed
    };
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest, signed));
        rest = rest.get(32..).unwrap_or_default();
    }
    // The lowest bit says that a block goes on with a hash, and the highest value is the end.
    let hash = state[1] & !1;
    let hash = if hash == 0xffff_fffe {
        0xffff_fffc
    } else {
        hash
    };
    (hash, state[2])
}

/// The next 32 bytes as numbers, filled up with the length of what is left.
fn words(rest: &[u8], signed: bool) -> [u32; 8] {
    let len = rest.len() as u32;
    let pad = len | len << 8;
    let pad = pad | pad << 16;
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for byte in bytes {
            let value = if signed {
                i32::from(byte.cast_signed()).cast_unsigned()
            } else {
                u32::from(*byte)
            };
            *word = value.wrapping_add(*word << 8);
        }
    }
    words
}

fn transform(state: &mut [u32; 4], input: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [usize; 8], [u32; 4]); 3] = [
        (
            |x, y, z| z ^ (x & (y ^ z)),
            0,
            [0, 1, 2, 3, 4, 5, 6, 7],
            [3, 7, 11, 19],
        ),
        (
            |x, y, z| (x & y).wrapping_add((x ^ y) & z),
            0x5a82_7999,
            [1, 3, 5, 7, 0, 2, 4, 6],
            [3, 5, 9, 13],
        ),
        (
            |x, y, z| x ^ y ^ z,
            0x6ed9_eba1,
            [3, 7, 2, 6, 1, 5, 0, 4],
            [3, 9, 11, 15],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in ROUNDS {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a
                .wrapping_add(mix(b, c, d))
                .wrapping_add(input[word])
                .wrapping_add(constant);
            let next = sum.rotate_left(shifts[step % 4]);
            (a, b, c, d) = (d, next, b, c);
        }
    }
    for (word, value) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(value);
    }
}

#[cfg(test)]
mod test {
    use super::half_md4;

    /// From `debugfs -R 'dx_hash -h half_md4 -s SEED NAME'`.
    #[test]
    fn hashes_are_those_of_other_programs() {
        let seed = [0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d];
        let long = "a_name_that_is_longer_than_thirty_two_bytes_by_far";
        for (name, hash) in [
            ("a", 0x8d08_ec4c),
            ("hello", 0xe2dd_f968),
            (long, 0x4cb9_ce86),
        ] {
            assert_eq!(half_md4(name.as_bytes(), seed, true).0, hash, "{name}");
        }
    }
}
