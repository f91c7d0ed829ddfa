//! What things on the host are named, so that they are found again and never taken for another
//! data directory's (invariant 5 of the design).

use std::net::Ipv4Addr;

use bhatti_types::id::{DataDirId, UserId};

/// What every mark and every namespace's name begins with.
pub const BRAND: &str = "bhatti";

/// The bridge in a user's namespace.
pub const BRIDGE: &str = "br0";
/// The way out of a user's namespace.
pub const UPLINK: &str = "up0";

/// Names of what belongs to one data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    data_dir: DataDirId,
    /// Digits of the data directory's id that fit into an interface's name, which has at most 15
    /// characters. Two of a million directories on one host would share them; the alias has all
    /// of the id, and who meets another's link there leaves it alone.
    short: String,
}

impl Marks {
    /// Those of a data directory.
    pub fn new(data_dir: DataDirId) -> Self {
        let digits = data_dir.as_str().trim_start_matches(DataDirId::PREFIX);
        let short = digits.chars().take(5).collect();
        Self { data_dir, short }
    }

    /// The data directory.
    pub fn data_dir(&self) -> &DataDirId {
        &self.data_dir
    }

    /// A user's namespace.
    pub fn namespace(&self, user: &UserId) -> String {
        format!("{BRAND}-{}-{user}", self.data_dir)
    }

    /// The namespace in which taps wait that are nobody's yet.
    pub fn stock_namespace(&self) -> String {
        format!("{BRAND}-{}-stock", self.data_dir)
    }

    /// The user whose namespace has this name, if it is one of this data directory's.
    pub fn user_of_namespace(&self, name: &str) -> Option<UserId> {
        let user = name.strip_prefix(&format!("{BRAND}-{}-", self.data_dir))?;
        user.parse().ok()
    }

    /// The host's end of a user's way out.
    pub fn link(&self, user: &UserId) -> String {
        let digits = user.as_str().trim_start_matches(UserId::PREFIX);
        format!("{}{digits}", self.link_prefix())
    }

    /// What the names of all these ends begin with.
    pub fn link_prefix(&self) -> String {
        format!("bh{}", self.short)
    }

    /// The user whose way out has this name.
    pub fn user_of_link(&self, name: &str) -> Option<UserId> {
        let digits = name.strip_prefix(&self.link_prefix())?;
        format!("{}{digits}", UserId::PREFIX).parse().ok()
    }

    /// What stands beside a user's way out, whole.
    pub fn alias(&self, user: &UserId) -> String {
        format!("{BRAND}:{}:{user}", self.data_dir)
    }

    /// The host's table of rules.
    pub fn host_table(&self) -> String {
        format!("{BRAND}_{}", self.short)
    }
}

/// A machine's tap in its user's namespace.
pub fn tap(address: Ipv4Addr) -> String {
    let [_, b, c, d] = address.octets();
    format!("tap{b}.{c}.{d}")
}

#[cfg(test)]
mod test {
    use bhatti_host::tap::NAME_MAX;

    use super::{Marks, tap};

    #[test]
    fn names_fit_and_lead_back() {
        let marks = Marks::new("dat_0123456789abcdef".parse().unwrap());
        let user = "usr_89abcdef".parse().unwrap();
        assert_eq!(marks.link(&user), "bh0123489abcdef");
        assert!(marks.link(&user).len() <= NAME_MAX);
        assert!(tap([255, 255, 255, 255].into()).len() <= NAME_MAX);
        assert_eq!(marks.user_of_link(&marks.link(&user)), Some(user.clone()));
        assert_eq!(
            marks.user_of_namespace(&marks.namespace(&user)),
            Some(user.clone())
        );
        assert_eq!(marks.user_of_namespace(&marks.stock_namespace()), None);
        let other = Marks::new("dat_0123400000000000".parse().unwrap());
        assert_eq!(other.user_of_namespace(&marks.namespace(&user)), None);
        assert_ne!(other.alias(&user), marks.alias(&user));
    }
}
