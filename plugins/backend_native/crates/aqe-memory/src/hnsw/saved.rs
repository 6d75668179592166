//! Graphs in a snapshot.

use std::io;

use super::{GRAPH, Graph, Layer, Links, M, M0, NONE};
use crate::snapshot::{Error, Section, Writer, damaged};

/// Marks a row of the file that is no vertex among half squares.
const NO_VERTEX: f32 = -1.0;

impl Graph {
    /// Rows of the upper levels, and one more than the row where searches begin, as numbers of the file; zeros if there
    /// is no vertex left.
    pub(crate) fn saved_counts(&self, numbers: &[u32]) -> (u64, u64) {
        let living = |layer: &Layer| -> Vec<u32> {
            let rows = layer.keys().map(|&row| numbers[row as usize]);
            rows.filter(|&number| number != NONE).collect()
        };
        let layers: Vec<Vec<u32>> = self.layers.iter().map(living).collect();
        let highest = layers.iter().rev().find_map(|rows| rows.iter().min());
        let first = || {
            (0..)
                .zip(numbers)
                .find(|&(row, &number)| number != NONE && self.has(row))
        };
        let entry = match self.entry.map(|row| numbers[row as usize]) {
            Some(number) if number != NONE => Some(number),
            _ => highest
                .copied()
                .or_else(|| first().map(|(_, &number)| number)),
        };
        let upper: usize = layers.iter().map(Vec::len).sum();
        (
            upper as u64,
            entry.map_or(0, |number| u64::from(number) + 1),
        )
    }

    pub(crate) fn write_halves(&self, living: &[u32], out: &mut Writer) -> io::Result<()> {
        out.numbers(living.iter().map(|&row| {
            if self.has(row) {
                self.half(row)
            } else {
                NO_VERTEX
            }
        }))
    }

    pub(crate) fn write_links(
        &self,
        living: &[u32],
        numbers: &[u32],
        out: &mut Writer,
    ) -> io::Result<()> {
        living.iter().try_for_each(|&row| {
            let links = if self.has(row) {
                self.links(0, row)
            } else {
                &[]
            };
            out.numbers(closed::<M0>(links, numbers))
        })
    }

    /// For each level and row of it: the level, the row, its links.
    pub(crate) fn write_upper(&self, numbers: &[u32], out: &mut Writer) -> io::Result<()> {
        for level in 1..=self.layers.len() {
            for row in self.rows_of(level) {
                if numbers[row as usize] != NONE {
                    out.numbers([level as u32, numbers[row as usize]])?;
                    out.numbers(closed::<M>(self.links(level, row), numbers))?;
                }
            }
        }
        Ok(())
    }

    /// Read a graph over rows with these places. It is refused if a walk through it could go wrong.
    pub(crate) fn read(
        places: &[[u32; 2]],
        (entry, upper): (u32, usize),
        [halves, links, more]: &mut [Section; 3],
    ) -> Result<Graph, Error> {
        let mut graph = Graph::new();
        let halves: Vec<f32> = halves.numbers(places.len())?;
        for (row, (&half, place)) in (0..).zip(halves.iter().zip(places)) {
            let links: Vec<u32> = links.numbers(M0)?;
            let vertex = half != NO_VERTEX;
            if vertex != (place[0] == GRAPH) || vertex && !(half >= 0.0 && half.is_finite()) {
                return damaged("its graph and its rows do not agree about each other");
            }
            if vertex {
                graph.admit(row, half, &[]);
                graph.bottom.last_mut().expect("admit leaves one")[row as usize % super::CHUNK] =
                    Links(links.try_into().expect("as many as were asked for"));
            }
        }
        for _ in 0..upper {
            let numbers: Vec<u32> = more.numbers(M + 2)?;
            graph.read_upper(&numbers)?;
        }
        graph.entry = Some(entry);
        graph.draining = false;
        graph.verify(places.len() as u32)?;
        Ok(graph)
    }

    fn read_upper(&mut self, numbers: &[u32]) -> Result<(), Error> {
        let (level, row) = (numbers[0] as usize, numbers[1]);
        if level == self.layers.len() + 1 {
            self.layers.push(Layer::default());
        }
        let links = numbers[2..].try_into().expect("as many as were asked for");
        let new = level > 0
            && level == self.layers.len()
            && self.layers[level - 1].insert(row, links).is_none();
        if new {
            Ok(())
        } else {
            damaged("the levels of its graph are out of order")
        }
    }

    /// Refuse links to what is no vertex of the level.
    fn verify(&self, rows: u32) -> Result<(), Error> {
        let sound = |links: &[u32], there: &dyn Fn(u32) -> bool| {
            let count = links.iter().position(|&link| link == NONE);
            let (links, rest) = links.split_at(count.unwrap_or(links.len()));
            links.iter().all(|&link| there(link)) && rest.iter().all(|&link| link == NONE)
        };
        let at_bottom = |row: u32| row < rows && self.has(row);
        let bottom = (0..rows).filter(|&row| self.has(row)).all(|row| {
            let (chunk, place) = (row as usize / super::CHUNK, row as usize % super::CHUNK);
            sound(&self.bottom[chunk][place].0, &at_bottom)
        });
        let upper = self.layers.iter().all(|layer| {
            let there = |row: u32| layer.contains_key(&row);
            layer
                .iter()
                .all(|(&row, links)| at_bottom(row) && sound(links, &there))
        });
        let top = self.layers.last();
        let entry = self
            .entry
            .is_some_and(|row| at_bottom(row) && top.is_none_or(|l| l.contains_key(&row)));
        if bottom && upper && entry {
            Ok(())
        } else {
            damaged("a link of its graph leads to no row")
        }
    }
}

/// Links by their numbers in the file, filled up; those to rows that left are left out.
fn closed<const N: usize>(links: &[u32], numbers: &[u32]) -> [u32; N] {
    let mut out = [NONE; N];
    let there = links.iter().map(|&link| numbers[link as usize]);
    for (place, number) in out.iter_mut().zip(there.filter(|&number| number != NONE)) {
        *place = number;
    }
    out
}
