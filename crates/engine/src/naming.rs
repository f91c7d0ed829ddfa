//! Names for sandboxes that were given none.

use bhatti_types::id::hex;
use bhatti_types::name::SandboxName;

const FIRST: [&str; 16] = [
    "amber", "brisk", "calm", "clear", "copper", "dusky", "early", "fond", "glad", "keen", "lucid",
    "mild", "quiet", "ruddy", "swift", "warm",
];
const SECOND: [&str; 16] = [
    "anvil", "bellows", "brand", "cinder", "coal", "crucible", "ember", "flame", "flux", "forge",
    "furnace", "hammer", "ingot", "kiln", "smith", "spark",
];

/// Makes a name such as `quiet-ember-3f9c` of three random bytes.
pub(crate) fn name(random: [u8; 3]) -> SandboxName {
    let first = FIRST[usize::from(random[0] & 15)];
    let second = SECOND[usize::from(random[0] >> 4)];
    format!("{first}-{second}-{}", hex(&random[1..]))
        .parse()
        .expect("words, dashes and digits make a name")
}

#[cfg(test)]
mod test {
    #[test]
    fn every_byte_makes_a_name() {
        for byte in 0..=255 {
            assert!(super::name([byte, byte, 0]).as_str().len() < 32);
        }
    }
}
