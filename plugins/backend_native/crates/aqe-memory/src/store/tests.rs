//! Rows that leave while the store works: between what is read and what is written.

use super::*;
use crate::Metric;
use crate::code::Factors;
use crate::state::TAIL;
use crate::{Keep, Level};

const DIM: usize = 24;

fn store(index: Index) -> Store {
    Store::new(Options {
        dim: DIM,
        metric: Metric::L2,
        index,
        keep: Keep::Planes,
        recall: 0.9,
        seed: 1,
        threads: 1,
        background: false,
        level: Level::best(),
    })
}

fn rows(n: usize) -> Vec<f32> {
    let mut random = Random::new(4);
    (0..n * DIM)
        .map(|_| random.below(2001) as f32 / 1000.0 - 1.0)
        .collect()
}

fn keys(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// One list of some rows, as if they had been placed.
fn one_list(state: &State, numbers: std::ops::Range<u32>) -> Lists {
    let width = state.rows.width;
    let centroids = Centroids::new(
        Level::best(),
        &vec![0.0; width],
        &state.rows.mean,
        Metric::L2,
    );
    let mut list = List::new(width / 8, numbers.len());
    let nothing = Factors {
        slope: 0.0,
        offset: 0.0,
    };
    for row in numbers.clone() {
        list.push(row, &vec![0; width / 8], nothing);
    }
    Lists {
        centroids,
        lists: vec![list],
        spill: 0.0,
        learned_on: numbers.len(),
        error: 0.0,
        merged_error: 0.0,
        merged: 0,
    }
}

#[test]
fn a_number_free_when_lists_are_begun_may_be_taken_and_left_before_they_are_there() {
    let store = store(Index::Flat);
    store.add(&keys(0..1100), &rows(1100));
    store.remove(&keys(1090..1100));
    let mut state = store.shared.write();
    state.begin_build();
    // Rows of the numbers 1,090 and on, which no list has, come and go; one of the others goes.
    state.add(&[5000, 5001], &rows(2)).unwrap();
    state.remove(&[5001, 7]);
    let lists = one_list(&state, 0..1090);
    state.install(lists, &[[0, NOWHERE]; 1090]);
    store.shared.note_alive(state.rows.alive());
    drop(state);

    assert_eq!(store.len(), 1090);
    let stats = store.stats();
    assert_eq!((stats.rows, stats.tail, stats.lists), (1090, 1, 1));
    let (mut found, mut scores) = (vec![0; 1090], vec![0.0; 1090]);
    let query = &rows(1);
    store.search(query, 1090, None, true, None, (&mut found, &mut scores));
    found.sort_unstable();
    assert_eq!(found, store.keys());
}

#[test]
fn nothing_is_merged_or_learned_once_all_rows_have_left() {
    let store = store(Index::Lists);
    store.add(&keys(0..2000), &rows(2000));
    store.optimize();
    store.add(&keys(2000..2100), &rows(100));
    let mut state = store.shared.write();
    state.watch();
    let moves: Vec<_> = (2000..2100)
        .map(|row| (row, state.rows.places[row as usize][0], Chosen::alone(0)))
        .collect();
    assert!(moves.iter().all(|(_, from, _)| from & TAIL != 0));
    state.remove(&keys(0..2100));
    let mut buffers = Buffers::new(state.rows.width);
    state.merge(&moves, &mut buffers);
    assert!(state.lists.is_none());
    drop(state);

    store.shared.learn(40);
    assert_eq!(store.stats().lists, 0);
    store.add(&keys(0..2000), &rows(2000));
    assert!(store.stats().lists > 0);
}

#[test]
fn a_graph_is_not_given_up_while_lists_are_built_in_its_place() {
    let store = store(Index::Hnsw);
    store.add(&keys(0..3000), &rows(3000));
    store.optimize();
    assert_eq!(store.stats().graph, 3000);
    let mut state = store.shared.write();
    state.begin_build();
    let lists = one_list(&state, 0..3000);
    drop(state);
    for _ in 0..3 {
        // Rows that are replaced leave vertices behind.
        store.append(&keys(0..1000), &rows(1000)).unwrap();
    }
    let mut state = store.shared.write();
    assert!(state.graph.is_some());
    assert_eq!(state.parked.len(), 1000);
    state.install(lists, &[[0, NOWHERE]; 3000]);
    assert!(state.graph.is_none() && state.parked.is_empty());
    assert_eq!((state.rows.alive(), state.in_tail()), (3000, 1000));
}

#[test]
fn a_list_chosen_for_what_a_row_was_is_not_taken() {
    let store = store(Index::Lists);
    store.add(&keys(0..2000), &rows(2000));
    store.shared.learn(40);
    store.append(&keys(2000..2100), &rows(100)).unwrap();
    let mut buffers = Buffers::new(store.shared.read().rows.width);
    store.shared.write().watch();
    let moves = store.shared.moves(&mut buffers);
    assert_eq!(moves.len(), 100);
    // The opposite of a row has its key, number and segment, and another list.
    let other: Vec<f32> = rows(1).iter().map(|x| -x).collect();
    store.append(&[2000], &other).unwrap();
    let mut state = store.shared.write();
    let places = state.rows.places[moves[0].0 as usize];
    assert_eq!(places, [moves[0].1, NOWHERE]);
    state.merge(&moves, &mut buffers);
    assert_eq!(state.rows.places[moves[0].0 as usize], places);
    assert_eq!(state.in_tail(), 1);
    drop(state);
    store.shared.merge();
    let state = store.shared.read();
    let lists = state.lists.as_ref().expect("lists");
    let place = state.rows.places[moves[0].0 as usize][0];
    assert!(place < TAIL && place != moves[0].2.first);
    let mut centre = vec![0.0; state.rows.width];
    let mut gap = |list| {
        lists.centroids.centre(list, &state.rows.mean, &mut centre);
        distance(&other, &centre[..DIM])
    };
    assert!(gap(place) < gap(moves[0].2.first));
}

#[test]
fn links_chosen_for_what_a_row_was_are_not_taken() {
    let store = store(Index::Hnsw);
    store.add(&keys(0..3000), &rows(3000));
    store.optimize();
    store.append(&keys(3000..3010), &rows(10)).unwrap();
    let proposals = store.shared.proposals();
    assert_eq!(proposals.len(), 10);
    let other: Vec<f32> = rows(1).iter().map(|x| -x).collect();
    store.append(&[3000], &other).unwrap();
    let entered = store.shared.admit(proposals);
    assert_eq!(entered.len(), 9);
    let state = store.shared.read();
    let graph = state.graph.as_ref().expect("a graph");
    let row = state.rows.map.get(3000, &state.rows.keys).expect("a row");
    assert!(!graph.has(row) && entered.iter().all(|each| each.row != row));
}
