//! The forest of who descends from whom, for any entries.

use std::collections::{BTreeMap, BTreeSet};

use bhatti_lifecycle::tree::{Entry, Member, Placed, forest, under};
use proptest::prelude::*;

fn sandbox(number: u64) -> Member {
    Member::Sandbox(format!("sbx_{number:016x}").parse().expect("an id"))
}

fn snapshot(number: u64) -> Member {
    Member::Snapshot(format!("snp_{number:016x}").parse().expect("an id"))
}

fn entry(member: Member, parent: Option<Member>) -> Entry {
    Entry { member, parent }
}

fn lines(forest: &[Placed]) -> String {
    let line = |placed: &Placed| {
        let indent = "  ".repeat(placed.depth as usize);
        let (kind, number) = placed.member.id().split_once('_').expect("an id");
        let number = u64::from_str_radix(number, 16).expect("digits");
        let gone = if placed.present { "" } else { " gone" };
        format!("{indent}{kind}{number}{gone}\n")
    };
    forest.iter().map(line).collect()
}

#[test]
fn each_stands_under_what_it_descends_from_in_the_order_they_were_made() {
    let entries = [
        entry(sandbox(1), None),
        entry(snapshot(1), Some(sandbox(1))),
        entry(sandbox(2), Some(snapshot(1))),
        entry(sandbox(3), Some(sandbox(1))),
        entry(sandbox(4), None),
        entry(sandbox(5), Some(snapshot(1))),
        entry(snapshot(9), Some(sandbox(8))),
        entry(sandbox(6), Some(snapshot(7))),
    ];
    let all = forest(&entries);
    let expected = "sbx1\n  snp1\n    sbx2\n    sbx5\n  sbx3\nsbx4\nsbx8 gone\n  snp9\n\
                    snp7 gone\n  sbx6\n";
    assert_eq!(lines(&all), expected);
    assert_eq!(lines(&under(&all, &snapshot(1))), "snp1\n  sbx2\n  sbx5\n");
    assert_eq!(under(&all, &sandbox(99)), []);
}

#[test]
fn a_long_line_of_descent_is_laid_out() {
    let parent = |number: u64| number.checked_sub(1).map(sandbox);
    let entries: Vec<_> = (0..50_000)
        .map(|number| entry(sandbox(number), parent(number)))
        .collect();
    assert_eq!(forest(&entries).last().unwrap().depth, 49_999);
}

/// Any member among few, so that all ways to be related come about.
fn member() -> impl Strategy<Value = Member> {
    prop_oneof![(0u64..12).prop_map(sandbox), (0u64..12).prop_map(snapshot)]
}

proptest! {
    #[test]
    fn every_member_is_in_the_forest_once_and_under_its_parent_whatever_the_entries_say(
        entries in prop::collection::vec((member(), prop::option::of(member())), 0..24)
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(m, p)| entry(m, p)).collect();
        let mut parents: BTreeMap<&Member, Option<&Member>> = BTreeMap::new();
        for entry in &entries {
            parents.entry(&entry.member).or_insert(entry.parent.as_ref());
        }
        let all = forest(&entries);
        let named: BTreeSet<&Member> = parents
            .iter()
            .flat_map(|(member, parent)| [Some(*member), *parent])
            .flatten()
            .collect();
        let placed: BTreeSet<&Member> = all.iter().map(|placed| &placed.member).collect();
        prop_assert_eq!(all.len(), placed.len(), "one is there twice");
        prop_assert_eq!(&placed, &named);
        for (at, it) in all.iter().enumerate() {
            prop_assert_eq!(it.present, parents.contains_key(&it.member));
            // The parent is the nearest one before it that stands higher.
            let nearest = all[..at].iter().rev().find(|other| other.depth < it.depth);
            let above = nearest.map(|other| (&other.member, other.depth + 1));
            let parent = it.parent.as_ref().map(|parent| (parent, it.depth));
            prop_assert_eq!(parent, above);
            prop_assert_eq!(it.parent.is_some(), it.depth > 0);
            if let Some(parent) = &it.parent {
                prop_assert_eq!(parents[&it.member], Some(parent));
            }
        }
        // Without rings only those without a parent are roots.
        for root in all.iter().filter(|placed| placed.depth == 0) {
            let mut above = &root.member;
            let mut steps = 0;
            while let Some(Some(parent)) = parents.get(above) {
                above = parent;
                steps += 1;
                if above == &root.member {
                    break;
                }
                prop_assert!(steps <= 24, "it hangs from a ring and is a root");
            }
            prop_assert!(above == &root.member, "a root that has a parent");
        }
    }

    #[test]
    fn a_part_of_the_forest_holds_all_that_descends_from_its_root(
        entries in prop::collection::vec((member(), prop::option::of(member())), 1..24),
        root in member(),
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(m, p)| entry(m, p)).collect();
        let all = forest(&entries);
        let part = under(&all, &root);
        let mut wanted = BTreeSet::new();
        for placed in &all {
            let inside = placed.parent.as_ref().is_some_and(|parent| wanted.contains(parent));
            if placed.member == root || inside {
                wanted.insert(placed.member.clone());
            }
        }
        let held: BTreeSet<_> = part.iter().map(|placed| placed.member.clone()).collect();
        prop_assert_eq!(held, wanted);
        if let Some(top) = part.first() {
            prop_assert_eq!((top.depth, &top.parent), (0, &None));
        }
    }
}
