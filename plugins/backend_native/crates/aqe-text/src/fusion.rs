//! Hybrid hits: two lists of scores as one, as `aqe_core.searching.fuse` computes it, bit for bit.

use hashbrown::HashMap;

use crate::search::Hit;

/// How two lists are weighed.
#[derive(Clone, Copy, Debug)]
pub struct Fusion {
    /// Of the scores by words.
    pub lexical_weight: f64,
    /// Of those by vectors.
    pub vector_weight: f64,
    /// The score at this place of a list counts nothing, as do those after it.
    pub depth: usize,
}

/// Fused hits, best first; NaN where a part is not known. All of one length.
#[derive(Debug, Default, PartialEq)]
pub struct Fused {
    /// Ties in ascending order of them.
    pub keys: Vec<u64>,
    /// 0 .. 1.
    pub scores: Vec<f64>,
    /// Of the list by words.
    pub lexical: Vec<f64>,
    /// Of the list by vectors.
    pub vector: Vec<f64>,
}

/// Scales the scores of a list: its best to 1, a lowest one to 0.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    top: f64,
}

impl Scale {
    fn new(list: &[Hit], low: f64) -> Self {
        let top = list.first().map_or(low, |hit| f64::from(hit.1));
        Self { low, top }
    }

    fn of(self, score: f64) -> f64 {
        let spread = self.top - self.low;
        if spread > 0.0 {
            ((score - self.low) / spread).max(0.0) // NaN, which is not in the list, becomes 0 too
        } else {
            f64::from(u8::from(score >= self.top))
        }
    }
}

impl Fusion {
    /// Return the union of two lists, best first. Keys are distinct in each. O(n log n).
    pub fn fuse(self, words: &[Hit], vectors: &[Hit]) -> Fused {
        let at_depth = |list: &[Hit]| {
            let last = list.len().min(self.depth).checked_sub(1)?;
            Some(f64::from(list[last].1))
        };
        // Where fewer have a word of the query, 0 stands for no such word.
        let least = at_depth(words).filter(|_| words.len() >= self.depth);
        let by_words = Scale::new(words, least.unwrap_or(0.0));
        let by_vectors = Scale::new(vectors, at_depth(vectors).unwrap_or(0.0));
        let mut place: HashMap<u64, usize> = HashMap::with_capacity(words.len());
        let mut hits: Vec<(f64, u64, f64, f64)> = Vec::with_capacity(words.len() + vectors.len());
        for &(key, score) in words {
            place.insert(key, hits.len());
            hits.push((0.0, key, f64::from(score), f64::NAN));
        }
        for &(key, score) in vectors {
            match place.get(&key) {
                Some(&at) => hits[at].3 = f64::from(score),
                None => hits.push((0.0, key, f64::NAN, f64::from(score))),
            }
        }
        let whole = self.lexical_weight + self.vector_weight;
        for (score, _, lexical, vector) in &mut hits {
            let sum = self.lexical_weight * by_words.of(*lexical)
                + self.vector_weight * by_vectors.of(*vector);
            *score = sum / whole;
        }
        hits.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Fused {
            keys: hits.iter().map(|hit| hit.1).collect(),
            scores: hits.iter().map(|hit| hit.0).collect(),
            lexical: hits.iter().map(|hit| hit.2).collect(),
            vector: hits.iter().map(|hit| hit.3).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: Fusion = Fusion {
        lexical_weight: 1.0,
        vector_weight: 1.0,
        depth: 3,
    };

    #[test]
    fn a_whole_list_goes_down_to_its_depth() {
        let words = [(7, 5.0), (8, 3.0), (9, 1.0), (10, 0.5)];
        let fused = EVEN.fuse(&words, &[]);
        assert_eq!(fused.keys, [7, 8, 9, 10]);
        assert_eq!(fused.scores, [0.5, 0.25, 0.0, 0.0]);
    }

    #[test]
    fn a_short_list_by_words_goes_down_to_zero() {
        let fused = EVEN.fuse(&[(7, 4.0), (8, 1.0)], &[(8, 0.5), (9, -0.5)]);
        assert_eq!(fused.keys, [8, 7, 9]);
        assert_eq!(fused.scores, [0.625, 0.5, 0.0]);
        assert_eq!(fused.lexical[..2], [1.0, 4.0]);
        assert!(fused.lexical[2].is_nan() && fused.vector[1].is_nan());
        assert_eq!((fused.vector[0], fused.vector[2]), (0.5, -0.5));
    }

    #[test]
    fn equal_scores_come_in_order_of_key() {
        let fused = EVEN.fuse(&[], &[(9, 0.5), (8, 0.5)]);
        assert_eq!((fused.keys, fused.scores), (vec![8, 9], vec![0.5, 0.5]));
        assert_eq!(EVEN.fuse(&[], &[]), Fused::default());
    }
}
