//! From a file to a store.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::header::{Header, name_of};
use super::{Error, PAGE, Part, Section, damaged};
use crate::centroids::Centroids;
use crate::hnsw::{GRAPH, Graph};
use crate::list::{List, NO_ROW};
use crate::rows::saved::{Kept, Numbers, Planes, all_finite, map_of};
use crate::rows::{NOWHERE, Rows};
use crate::state::{Lists, State, TAIL};
use crate::store::Store;
use crate::{Level, Metric, Options};

impl Store {
    /// Replace all that the store holds by what a file holds; on an error nothing was changed. Returns the name of the
    /// content that [`Store::save`] gave.
    pub fn load(&self, path: &Path) -> Result<u64, Error> {
        let (mut state, name) = read(path, self.options())?;
        {
            // Work beside the calls speaks of rows that are about to go.
            let _turn = self
                .shared
                .work
                .lock()
                .expect("no thread panics while it works on a store");
            let mut old = self.shared.write();
            self.shared.note_alive(state.rows.alive());
            state.epoch = old.epoch + 1; // rows that are being encoded by the old mean are encoded anew
            *old = state;
        }
        self.start_work();
        Ok(name)
    }
}

fn read(path: &Path, options: &Options) -> Result<(State, u64), Error> {
    let mut file = File::open(path)?;
    let mut page = vec![0; PAGE];
    file.read_exact(&mut page)?;
    let header = Header::parse(&page)?;
    header.compare(options)?;
    let offsets = header.offsets();
    let length = file.metadata()?.len();
    if length != *offsets.last().expect("one for each section") {
        return damaged(format!(
            "it has {length} bytes, not as many as its counts say"
        ));
    }
    let source = Source {
        file: &file,
        header: &header,
    };
    let (rows, lists) = source.read(options.level)?;
    let state = source.assemble(options, rows, lists)?;
    Ok((state, name_of(&page)))
}

/// A file whose header was read.
struct Source<'a> {
    file: &'a File,
    header: &'a Header,
}

impl<'a> Source<'a> {
    fn section(&self, part: Part) -> Section<'a> {
        let offsets = self.header.offsets();
        let i = part as usize;
        Section::new(
            self.file,
            part,
            [offsets[i], offsets[i + 1]],
            self.header.hashes[i],
        )
    }

    /// Read one section whole.
    fn whole<T>(
        &self,
        part: Part,
        read: impl FnOnce(&mut Section) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut section = self.section(part);
        let found = read(&mut section)?;
        section.end()?;
        Ok(found)
    }

    fn read(&self, level: Level) -> Result<(Rows, Vec<List>), Error> {
        let header = self.header;
        let (n, width) = (header.counts.rows as usize, header.width());
        std::thread::scope(|scope| {
            let upper = scope.spawn(|| {
                self.whole(Part::UpperPlane, |section| {
                    Planes::read(section, n, width / 2)
                })
            });
            let others = scope.spawn(|| {
                let bytes = width * 3 / 4;
                self.whole(Part::OtherPlanes, |section| Planes::read(section, n, bytes))
            });
            let lists = scope.spawn(|| self.read_lists());
            let numbers = self.read_numbers(n, width)?;
            let map = map_of(&numbers.keys)?;
            let kept = self.whole(Part::Originals, |section| {
                Kept::read(section, n, header.dim, header.kept())
            })?;
            let planes = [joined(upper)?, joined(others)?];
            let shape = (header.dim, header.metric, header.kept(), level);
            let rows = Rows::from_parts(shape, numbers, planes, kept, map)?;
            Ok((rows, joined(lists)?))
        })
    }

    fn read_numbers(&self, n: usize, width: usize) -> Result<Numbers, Error> {
        let squares = if self.header.metric == Metric::L2 {
            n
        } else {
            0
        };
        let places = self.whole(Part::Places, |section| section.numbers::<u32>(2 * n))?;
        Ok(Numbers {
            mean: self.whole(Part::Mean, |section| section.numbers(width))?,
            keys: self.whole(Part::Keys, |section| section.numbers(n))?,
            places: places
                .chunks_exact(2)
                .map(|pair| [pair[0], pair[1]])
                .collect(),
            scales: self.whole(Part::Scales, |section| section.numbers(n))?,
            half_squares: self.whole(Part::HalfSquares, |section| section.numbers(squares))?,
        })
    }

    fn read_lists(&self) -> Result<Vec<List>, Error> {
        let counts = self.header.counts;
        let count = (counts.lists + counts.segments) as usize;
        let lengths = self.whole(Part::Lengths, |section| section.numbers::<u32>(count))?;
        let sum = |of: fn(u64) -> u64| lengths.iter().map(|&n| of(u64::from(n))).sum::<u64>();
        let blocks = sum(|length| length.div_ceil(crate::kernels::BLOCK as u64));
        if sum(|length| length) != counts.slots || blocks != counts.blocks {
            return damaged("the lengths of its lists do not fit its counts");
        }
        let (mut codes, mut factors) = (self.section(Part::Codes), self.section(Part::Factors));
        let mut rows = self.section(Part::Slots);
        let width = self.header.width() / 8;
        let lists = List::read(&lengths, width, [&mut codes, &mut factors, &mut rows])?;
        codes.end()?;
        factors.end()?;
        rows.end()?;
        Ok(lists)
    }

    fn read_centroids(&self, level: Level, mean: &[f32]) -> Result<Centroids, Error> {
        let count = self.header.counts.lists as usize;
        let mut scales = self.whole(Part::CentreScales, |section| {
            section.numbers::<f32>(2 * count)
        })?;
        if !all_finite(&scales) {
            return damaged("a centre in it is not finite");
        }
        let radii = scales.split_off(count);
        if radii.iter().any(|&radius| radius < 0.0) {
            return damaged("a radius in it is negative");
        }
        let mut bytes = vec![0; count * mean.len()];
        self.whole(Part::CentreBytes, |section| section.bytes(&mut bytes))?;
        let signed = bytes.into_iter().map(|byte| byte as i8).collect();
        let metric = self.header.metric;
        Ok(Centroids::of_bytes(
            level,
            signed,
            [scales, radii],
            mean,
            metric,
        ))
    }

    fn read_graph(&self, rows: &Rows) -> Result<Option<Graph>, Error> {
        let vertices = self.header.vertices;
        let mut sections = [Part::Halves, Part::Links, Part::UpperLinks].map(|p| self.section(p));
        let graph = match vertices.entry.checked_sub(1) {
            None => None,
            Some(entry) => Some(Graph::read(
                &rows.places,
                (entry as u32, vertices.upper as usize),
                &mut sections,
            )?),
        };
        sections.into_iter().try_for_each(Section::end)?;
        Ok(graph)
    }

    /// Put a state together in which rows and lists agree about each other.
    fn assemble(
        &self,
        options: &Options,
        rows: Rows,
        mut lists: Vec<List>,
    ) -> Result<State, Error> {
        let header = self.header;
        let count = header.counts.lists as usize;
        let graph = self.read_graph(&rows)?;
        verify_places(&rows.places, &lists, count, graph.as_ref())?;
        let tail = lists.split_off(count);
        let mut state = State::new(options);
        if count > 0 {
            let learned = header.learned;
            state.lists = Some(Lists {
                centroids: self.read_centroids(options.level, &rows.mean)?,
                lists,
                spill: learned.spill,
                learned_on: learned.learned_on,
                error: learned.error,
                merged_error: learned.merged_error,
                merged: learned.merged,
            });
        }
        state.rows = rows;
        state.graph = graph;
        state.tail = tail.into();
        state.young = header.young;
        state.tuning = header.tuning;
        Ok(state)
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().expect("reading does not panic")
}

/// Refuse rows that do not stand once in each of the lists that they name, and nowhere else, or in the graph.
fn verify_places(
    places: &[[u32; 2]],
    lists: &[List],
    count: usize,
    graph: Option<&Graph>,
) -> Result<(), Error> {
    let wrong = || damaged("its rows and lists do not agree about each other");
    let mut lacking = vec![0u8; places.len()]; // a bit for each of the two places
    for (row, (&[first, second], lacking)) in (0..).zip(places.iter().zip(&mut lacking)) {
        let in_tail = first & TAIL != 0;
        if first == GRAPH {
            if second != NOWHERE || !graph.is_some_and(|graph| graph.has(row)) {
                return wrong();
            }
            continue;
        }
        if first == NOWHERE || first == second || in_tail && second != NOWHERE {
            return wrong();
        }
        *lacking = if second == NOWHERE { 1 } else { 3 };
    }
    for (i, list) in lists.iter().enumerate() {
        let place = match i.checked_sub(count) {
            Some(segment) => TAIL | segment as u32,
            None => i as u32,
        };
        for &row in list.rows().iter().filter(|&&row| row != NO_ROW) {
            let Some(pair) = places.get(row as usize) else {
                return wrong();
            };
            let bit = u8::from(pair[0] == place) | u8::from(pair[1] == place) << 1;
            if bit & lacking[row as usize] == 0 {
                return wrong();
            }
            lacking[row as usize] &= !bit;
        }
    }
    if lacking.iter().all(|&bits| bits == 0) {
        Ok(())
    } else {
        wrong()
    }
}
