//! How rows get into the graph.

use super::{Beam, Graph, M, Point, WIDTH, level_of};
use crate::level::Level;
use crate::rows::Rows;

/// The links that a row would have.
pub struct Proposal {
    /// The row.
    pub row: u32,
    /// Its place in the tail when they were chosen.
    pub from: u32,
    pub(crate) half: f32,
    pub(crate) links: Vec<Vec<u32>>,
}

/// Scratch for choosing links.
#[derive(Default)]
pub struct Chooser {
    beam: Beam,
    base: Point,
    points: Vec<Point>,
    candidates: Vec<(f32, u32)>,
}

/// New links of a vertex at a level.
pub(crate) struct Change {
    pub level: usize,
    pub row: u32,
    pub links: Vec<u32>,
}

impl Chooser {
    /// Choose links for a row that is not in the graph.
    pub fn propose(
        &mut self,
        (level, seed): (Level, u64),
        graph: &Graph,
        rows: &Rows,
        row: u32,
    ) -> Proposal {
        self.base.load(level, rows, row);
        // A level of its own is begun by one row at a time.
        let top = graph.layers.len();
        let own = level_of(rows.keys[row as usize], seed).min(top + 1);
        let mut links = vec![Vec::new(); own + 1];
        let mut beam = std::mem::take(&mut self.beam);
        let base = std::mem::take(&mut self.base);
        let near = |other: u32| base.near(level, rows, graph, other);
        let fetch = |other: u32| rows.prefetch_rough(other);
        beam.descend(graph, own, &fetch, &near);
        for at in (0..=own.min(top)).rev() {
            beam.walk(graph, at, WIDTH, &fetch, &near);
            self.candidates.clear();
            let living = beam.found().filter(|&(_, other)| rows.is_alive(other));
            self.candidates.extend(living);
            links[at] = self.choose(level, graph, rows, base.half, M);
        }
        let half = base.half;
        (self.beam, self.base) = (beam, base);
        Proposal {
            row,
            from: rows.places[row as usize][0],
            half,
            links,
        }
    }

    /// Of the candidates, best first, take each that is nearer to the base than to all taken before it.
    fn choose(
        &mut self,
        level: Level,
        graph: &Graph,
        rows: &Rows,
        half: f32,
        most: usize,
    ) -> Vec<u32> {
        let mut chosen = Vec::with_capacity(most);
        self.points.resize_with(most, Point::default);
        for &(near, row) in &self.candidates {
            let (distance, own) = (half - near, graph.half(row));
            let hidden = self.points[..chosen.len()]
                .iter()
                .any(|point| own + point.half - point.dot(level, rows, row) < distance);
            if !hidden {
                self.points[chosen.len()].load(level, rows, row);
                chosen.push(row);
                if chosen.len() == most {
                    break;
                }
            }
        }
        chosen
    }

    /// The links of a vertex with some more: all of them, or a choice if they are too many.
    pub(crate) fn joined(
        &mut self,
        level: Level,
        graph: &Graph,
        rows: &Rows,
        (at, row): (usize, u32),
        more: &[u32],
    ) -> Change {
        let before = graph.links(at, row);
        let mut links = before.to_vec();
        links.extend(more.iter().filter(|other| !before.contains(other)));
        if links.len() > Graph::most(at) {
            links = self.best_of(level, graph, rows, (at, row), &links);
        }
        Change {
            level: at,
            row,
            links,
        }
    }

    /// A choice of links for a vertex among some others.
    pub(crate) fn best_of(
        &mut self,
        level: Level,
        graph: &Graph,
        rows: &Rows,
        (at, row): (usize, u32),
        others: &[u32],
    ) -> Vec<u32> {
        others.iter().for_each(|&other| rows.prefetch_rough(other));
        self.base.load(level, rows, row);
        self.candidates.clear();
        let base = &self.base;
        let valued = others
            .iter()
            .map(|&other| (base.near(level, rows, graph, other), other));
        self.candidates.extend(valued);
        self.candidates
            .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let half = self.base.half;
        self.choose(level, graph, rows, half, Graph::most(at))
    }
}

/// For each level and vertex that some of the new rows link to: those rows. Ordered.
pub(crate) fn linked(proposals: &[Proposal]) -> Vec<((usize, u32), Vec<u32>)> {
    let mut pairs: Vec<(usize, u32, u32)> = Vec::new();
    for proposal in proposals {
        for (level, links) in proposal.links.iter().enumerate() {
            pairs.extend(links.iter().map(|&to| (level, to, proposal.row)));
        }
    }
    pairs.sort_unstable();
    pairs
        .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
        .map(|group| {
            let rows = group.iter().map(|pair| pair.2).collect();
            ((group[0].0, group[0].1), rows)
        })
        .collect()
}

impl Graph {
    /// Put links in place that were chosen.
    pub(crate) fn change(&mut self, changes: &[Change]) {
        for Change { level, row, links } in changes {
            if *level == 0 || self.layers[level - 1].contains_key(row) {
                self.set_links(*level, *row, links);
            }
        }
    }
}
