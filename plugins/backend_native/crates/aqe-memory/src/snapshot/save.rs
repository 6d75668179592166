//! From a store to a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::header::{Counts, Header, Learned, Vertices};
use super::{Error, PAGE, SECTIONS, Writer, header};
use crate::hnsw::GRAPH;
use crate::list::{List, NO_ROW};
use crate::rows::NOWHERE;
use crate::state::{State, TAIL};
use crate::store::Store;

impl Store {
    /// Finish the work that is done beside the calls, and write all to a file; a crash leaves the old file or the new.
    ///
    /// Returns a name of the content: the checksum of a header that holds all other checksums. While rows are written
    /// out nothing can be changed, and searches may wait for changes that wait.
    pub fn save(&self, path: &Path) -> Result<u64, Error> {
        self.optimize();
        let draft = Draft::beside(path);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&draft.0)?;
        let name = {
            let state = self.shared.read();
            write(&mut file, &state, Header::new(self.options()))?
        };
        file.sync_all()?;
        drop(file);
        fs::rename(&draft.0, path)?;
        Ok(name)
    }
}

/// A file in the making; what is left of it in the end is removed.
struct Draft(PathBuf);

impl Draft {
    fn beside(path: &Path) -> Draft {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let process = std::process::id();
        Draft(path.with_file_name(format!(".{name}.{process}.{number}.draft")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // it is gone if all went well
    }
}

fn write(file: &mut File, state: &State, mut header: Header) -> io::Result<u64> {
    file.write_all(&[0; PAGE])?;
    let living: Vec<u32> = state.rows.living().collect();
    let lists: Vec<&List> = all_lists(state).collect();
    header.young = state.is_young();
    header.tuning = state.tuning;
    // Fewer lists may have been learned since it was measured.
    let most = state.lists.as_ref().map_or(1, |lists| lists.lists.len());
    header.tuning.probes = header.tuning.probes.min(most);
    header.counts = Counts {
        rows: living.len() as u64,
        lists: (lists.len() - state.tail.len()) as u64,
        segments: state.tail.len() as u64,
        slots: lists.iter().map(|list| list.len() as u64).sum(),
        blocks: lists.iter().map(|list| list.blocks() as u64).sum(),
    };
    if let Some(lists) = &state.lists {
        header.learned = Learned {
            spill: lists.spill,
            learned_on: lists.learned_on,
            error: lists.error,
            merged_error: lists.merged_error,
            merged: lists.merged,
        };
    }
    let numbers = numbers_of(state, &living);
    if let Some(graph) = &state.graph {
        let (upper, entry) = graph.saved_counts(&numbers);
        header.vertices = Vertices { upper, entry };
    }
    let mut out = Writer::new(file);
    header.hashes = write_sections(&mut out, state, &living, &lists, &numbers)?;
    out.finish()?;
    let bytes = header.to_bytes();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)?;
    Ok(header::name_of(&bytes))
}

/// Numbers of rows in the file, closed up; `NO_ROW` for those that left.
fn numbers_of(state: &State, living: &[u32]) -> Vec<u32> {
    let mut numbers = vec![NO_ROW; state.rows.numbers()];
    for (number, &row) in living.iter().enumerate() {
        numbers[row as usize] = number as u32;
    }
    numbers
}

/// Lists, then segments of the tail.
fn all_lists(state: &State) -> impl Iterator<Item = &List> {
    let lists = state.lists.iter().flat_map(|lists| &lists.lists);
    lists.chain(&state.tail)
}

/// Write all sections in their order; numbers of rows and segments are closed up. Returns the checksums.
fn write_sections(
    out: &mut Writer,
    state: &State,
    living: &[u32],
    lists: &[&List],
    numbers: &[u32],
) -> io::Result<[u64; SECTIONS]> {
    let rows = &state.rows;
    let mut hashes = [0; SECTIONS];
    let mut ends = hashes.iter_mut();
    let mut end = |out: &mut Writer| -> io::Result<()> {
        *ends.next().expect("one for each section") = out.end()?;
        Ok(())
    };
    out.numbers(rows.mean.iter().copied())?;
    end(out)?;
    out.numbers(living.iter().map(|&row| rows.keys[row as usize]))?;
    end(out)?;
    let closed = |place: u32| match place {
        NOWHERE | GRAPH => place,
        _ if place & TAIL != 0 => TAIL | ((place & !TAIL) - state.tail_first),
        _ => place,
    };
    out.numbers(
        living
            .iter()
            .flat_map(|&row| rows.places[row as usize].map(closed)),
    )?;
    end(out)?;
    rows.write_scales(living, out)?;
    end(out)?;
    rows.write_half_squares(living, out)?;
    end(out)?;
    rows.write_upper_plane(living, out)?;
    end(out)?;
    rows.write_other_planes(living, out)?;
    end(out)?;
    rows.write_originals(living, out)?;
    end(out)?;
    if let Some(lists) = &state.lists {
        lists.centroids.write_scales(out)?;
    }
    end(out)?;
    if let Some(lists) = &state.lists {
        lists.centroids.write_bytes(out)?;
    }
    end(out)?;
    out.numbers(lists.iter().map(|list| list.len() as u32))?;
    end(out)?;
    let slots = lists.iter().flat_map(|list| list.lanes());
    out.numbers(slots.map(|&row| numbers.get(row as usize).copied().unwrap_or(NO_ROW)))?;
    end(out)?;
    lists.iter().try_for_each(|list| list.write_factors(out))?;
    end(out)?;
    lists.iter().try_for_each(|list| list.write_codes(out))?;
    end(out)?;
    let graph = state
        .graph
        .as_ref()
        .filter(|graph| graph.saved_counts(numbers).1 > 0);
    if let Some(graph) = graph {
        graph.write_halves(living, out)?;
    }
    end(out)?;
    if let Some(graph) = graph {
        graph.write_links(living, numbers, out)?;
    }
    end(out)?;
    if let Some(graph) = graph {
        graph.write_upper(numbers, out)?;
    }
    end(out)?;
    Ok(hashes)
}
