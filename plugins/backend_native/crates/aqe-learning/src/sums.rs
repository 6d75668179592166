//! Weights whose running sums can be searched and changed quickly.

use crate::prefetch::prefetch;

const WIDTH: usize = 16;

/// A tree of running sums, 16 children to a node.
///
/// A sum is always computed from its children, never changed by a difference: no rounding error grows, and equal
/// weights give equal sums however they came about.
#[derive(Clone)]
pub struct Sums {
    weights: Vec<f64>,
    /// For each node of a level the sums up to and with each child: of the weights first, of one node last.
    levels: Vec<Vec<[f64; WIDTH]>>,
}

impl Sums {
    /// `n` weights of zero.
    pub fn new(n: usize) -> Self {
        let weights = vec![0.0; n.max(1).next_multiple_of(WIDTH)];
        let mut levels = vec![vec![[0.0; WIDTH]; weights.len() / WIDTH]];
        while levels[levels.len() - 1].len() > 1 {
            let nodes = levels[levels.len() - 1].len().div_ceil(WIDTH);
            levels.push(vec![[0.0; WIDTH]; nodes]);
        }
        Self { weights, levels }
    }

    /// A weight.
    #[inline]
    pub fn weight(&self, index: usize) -> f64 {
        self.weights[index]
    }

    /// The sum of all weights.
    #[inline]
    pub fn total(&self) -> f64 {
        self.levels[self.levels.len() - 1][0][WIDTH - 1]
    }

    /// Change a weight, which must not be negative. O(16 log16 n).
    pub fn set(&mut self, index: usize, weight: f64) {
        self.weights[index] = weight;
        self.add_up(index, index + 1);
    }

    /// Give all weights of a range one value. O(range + 16 log16 n).
    pub fn fill(&mut self, start: usize, end: usize, weight: f64) {
        if start < end {
            self.weights[start..end].fill(weight);
            self.add_up(start, end);
        }
    }

    /// Compute the sums over a range anew.
    fn add_up(&mut self, mut start: usize, mut end: usize) {
        (start, end) = (start / WIDTH, end.div_ceil(WIDTH));
        let leaves = self.weights.chunks_exact(WIDTH).skip(start);
        for (node, children) in self.levels[0][start..end].iter_mut().zip(leaves) {
            run_up(node, children.iter().copied());
        }
        for level in 1..self.levels.len() {
            (start, end) = (start / WIDTH, end.div_ceil(WIDTH));
            let (below, above) = self.levels.split_at_mut(level);
            let children = below[level - 1].chunks(WIDTH).skip(start);
            for (node, children) in above[0][start..end].iter_mut().zip(children) {
                run_up(node, children.iter().map(|child| child[WIDTH - 1]));
            }
        }
    }

    /// The index where the running sum first exceeds the target, for each target. O(targets * log16 n).
    ///
    /// A weight of zero is never found, whatever the rounding, unless all are. All descend together, level by level:
    /// none waits for the memory or the comparisons of another. What is left of the targets is of no use.
    pub fn find_all(&self, targets: &mut [f64], places: &mut [i64]) {
        places.fill(0);
        for (depth, level) in self.levels.iter().enumerate().rev() {
            descend(level, targets, places);
            for &place in &*places {
                match depth.checked_sub(1) {
                    Some(below) => {
                        let node = self.levels[below].as_ptr().wrapping_add(place as usize);
                        prefetch(node);
                        prefetch(node.wrapping_byte_add(64));
                    }
                    None => prefetch(self.weights.as_ptr().wrapping_add(place as usize)),
                }
            }
        }
    }

    /// The index where the running sum first exceeds the target; see [`Sums::find_all`].
    pub fn find(&self, target: f64) -> usize {
        let mut place = [0];
        self.find_all(&mut [target], &mut place);
        place[0] as usize
    }
}

/// From each place, a node of a level, to the child that the target lies in.
fn descend(level: &[[f64; WIDTH]], targets: &mut [f64], places: &mut [i64]) {
    for (place, target) in places.iter_mut().zip(targets) {
        let node = &level[*place as usize];
        let mut child = up_to(node, |sum| sum <= *target);
        if child == WIDTH {
            // What rounding has left over goes to the last child that is not zero, if there is one.
            child = up_to(node, |sum| sum < node[WIDTH - 1]);
            *target = f64::INFINITY;
        } else if child > 0 {
            *target -= node[child - 1];
        }
        *place = *place * WIDTH as i64 + child as i64;
    }
}

/// Write running sums; what lies beyond the children keeps the last.
#[inline(always)]
fn run_up(node: &mut [f64; WIDTH], children: impl Iterator<Item = f64>) {
    let mut sum = 0.0;
    let mut children = children.fuse();
    for place in node {
        sum += children.next().unwrap_or(0.0);
        *place = sum;
    }
}

/// How many of the sums, which never fall, are like this, the first ones. By halves, without a branch to guess.
#[inline(always)]
fn up_to(node: &[f64; WIDTH], like_this: impl Fn(f64) -> bool) -> usize {
    let mut n = 0;
    for half in [8, 4, 2, 1] {
        n += half * usize::from(like_this(node[(n + half - 1) % WIDTH]));
    }
    n + usize::from(like_this(node[n % WIDTH]))
}
