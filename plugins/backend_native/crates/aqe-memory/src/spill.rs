//! Which rows stand in a second list.

use crate::centroids::Chosen;
use crate::kernels::BLOCK;
use crate::rows::NOWHERE;

/// The share of the rows that do, roughly. The others gain less by it than all searches lose that scan them there.
const SHARE: f64 = 7.0 / 8.0;

impl Chosen {
    /// The lists that the row stands in, if a second one is worth it up to this ratio.
    pub fn places(self, bound: f32) -> [u32; 2] {
        let worth = self.ratio <= bound;
        [self.first, if worth { self.second } else { NOWHERE }]
    }
}

/// Lists by row, of those chosen for each, and up to which ratio a second one is worth it.
///
/// Around that ratio each list takes as many rows for their second one as fill its last block, which is scanned whole
/// whatever it holds. O(n log n).
pub fn spill(chosen: &[Chosen], lists: usize) -> (Vec<[u32; 2]>, f32) {
    let bound = bound_of(chosen);
    let mut places: Vec<[u32; 2]> = chosen.iter().map(|row| [row.first, NOWHERE]).collect();
    let (mut own, mut others) = (vec![0; lists], vec![Vec::new(); lists]);
    for (row, chosen) in chosen.iter().enumerate() {
        own[chosen.first as usize] += 1;
        if chosen.second != NOWHERE {
            others[chosen.second as usize].push((chosen.ratio, row));
        }
    }
    for (list, (own, mut others)) in own.into_iter().zip(others).enumerate() {
        others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let worth = others.partition_point(|&(ratio, _)| ratio <= bound);
        let blocks = (own + worth + BLOCK / 2) / BLOCK;
        let room = (blocks * BLOCK).saturating_sub(own);
        for &(_, row) in others.iter().take(room) {
            places[row][1] = list as u32;
        }
    }
    (places, bound)
}

/// The ratio up to which the wanted share of the rows is.
fn bound_of(chosen: &[Chosen]) -> f32 {
    let mut ratios: Vec<f32> = chosen.iter().map(|row| row.ratio).collect();
    let at = (SHARE * ratios.len() as f64) as usize;
    if at >= ratios.len() {
        return f32::INFINITY; // there are none
    }
    *ratios.select_nth_unstable_by(at, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn some(n: usize, lists: usize) -> Vec<Chosen> {
        let mut random = Random::new(1);
        let mut chosen = |_| {
            let first = random.below(lists);
            Chosen {
                first: first as u32,
                second: ((first + 1 + random.below(lists - 1)) % lists) as u32,
                ratio: random.below(1000) as f32 / 500.0,
            }
        };
        (0..n).map(&mut chosen).collect()
    }

    #[test]
    fn lists_are_filled_by_the_rows_that_gain_most() {
        const LISTS: usize = 50;
        let chosen = some(3000, LISTS);
        let (places, bound) = spill(&chosen, LISTS);
        assert!((1.65..1.85).contains(&bound), "{bound}");
        let spilled = places.iter().filter(|places| places[1] != NOWHERE).count();
        assert!((2400..2800).contains(&spilled), "{spilled}");
        for list in 0..LISTS as u32 {
            let stand = places.iter().filter(|places| places.contains(&list));
            let wants = chosen.iter().zip(&places);
            let wants = wants.filter(|(row, _)| row.second == list);
            let (taken, left): (Vec<_>, Vec<_>) = wants.partition(|(_, places)| places[1] == list);
            assert!(stand.count() % BLOCK == 0 || left.is_empty());
            let most = taken
                .iter()
                .fold(0f32, |most, (row, _)| most.max(row.ratio));
            assert!(left.iter().all(|(row, _)| row.ratio >= most));
        }
        let stay = chosen.iter().zip(&places);
        assert!(stay.into_iter().all(|(row, places)| places[0] == row.first));
    }

    #[test]
    fn a_row_without_a_second_list_stands_in_one() {
        let alone = Chosen::alone(0);
        let (places, bound) = spill(&[alone; 40], 1);
        assert!(places.iter().all(|&places| places == [0, NOWHERE]));
        assert_eq!(alone.places(bound), [0, NOWHERE]);
        assert_eq!(spill(&[], 1), (vec![], f32::INFINITY));
    }

    #[test]
    fn a_row_that_comes_later_is_measured_by_the_same_bound() {
        for row in some(200, 10) {
            let wanted = if row.ratio <= 0.7 {
                row.second
            } else {
                NOWHERE
            };
            assert_eq!(row.places(0.7), [row.first, wanted]);
        }
    }
}
