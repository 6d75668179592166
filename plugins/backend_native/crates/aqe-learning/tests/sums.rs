//! The tree of sums against a plain list.

use aqe_learning::Sums;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn finds_what_a_running_sum_finds(
        n in 1_usize..700,
        changes in prop::collection::vec((0_usize..700, prop_oneof![Just(0.0), 0.0..10.0, Just(1e-300)]), 1..60),
        range in (0_usize..700, 0_usize..700),
        shares in prop::collection::vec(0.0..1.0, 1..20),
    ) {
        let (mut sums, mut plain) = (Sums::new(n), vec![0.0; n]);
        let (start, end) = (range.0.min(range.1).min(n), range.0.max(range.1).min(n));
        sums.fill(start, end, 0.5);
        plain[start..end].fill(0.5);
        for (index, weight) in changes {
            sums.set(index % n, weight);
            plain[index % n] = weight;
        }
        let total: f64 = plain.iter().sum();
        prop_assert!((sums.total() - total).abs() <= 1e-12 * total);
        prop_assert!((0..n).all(|index| sums.weight(index) == plain[index]));
        prop_assume!(total > 0.0);
        for share in shares {
            let target = share * sums.total();
            let found = sums.find(target);
            prop_assert!(plain[found] > 0.0);
            let before: f64 = plain[..found].iter().sum();
            let slack = 1e-12 * total;
            prop_assert!(before <= target + slack && target < before + plain[found] + slack);
        }
        for beyond in [f64::INFINITY, sums.total() * 2.0] {
            let found = sums.find(beyond);
            prop_assert!(plain[found] > 0.0);
            prop_assert!(plain[found + 1..].iter().sum::<f64>() <= 1e-12 * total); // lost to rounding, if anything
        }
    }

    #[test]
    fn equal_weights_give_equal_sums(weights in prop::collection::vec(0.0..1.0, 1..200), twice in 0_usize..200) {
        let (mut one, mut other) = (Sums::new(weights.len()), Sums::new(weights.len()));
        other.set(twice % weights.len(), 1e9);
        for (index, &weight) in weights.iter().enumerate() {
            one.set(index, weight);
        }
        for (index, &weight) in weights.iter().enumerate().rev() {
            other.set(index, weight);
        }
        prop_assert_eq!(one.total(), other.total());
    }
}
