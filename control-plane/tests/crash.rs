//! The embedded store loses no acknowledged write to SIGKILL: this executable starts itself as a writer that
//! prints each acknowledged commit, kills it at random moments, and looks into the file after each round.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use realtime_control_plane::store::{Commit, Condition, EmbeddedStore, Entry, Event, Op, Store};
use realtime_proto::ids::random;

/// Set in the writer's environment to the data directory.
const DIRECTORY: &str = "STORE_WRITER_DIRECTORY";
const ROUNDS: usize = 20;
/// Kills of a first start, which makes the file within two milliseconds or so.
const FIRST_STARTS: usize = 40;
/// Writers of one process, so that commits share transactions.
const WRITERS: usize = 4;

/// One commit: two keys that must live or die together, and a counter that carries the condition.
async fn write(store: &EmbeddedStore, writer: usize, held: Option<&Entry>) -> Entry {
    let counter = format!("counter/{writer}");
    let number = held.map_or(0, |e| String::from_utf8_lossy(&e.value).parse::<u64>().unwrap() + 1);
    let condition = match held {
        Some(entry) => Condition::Revision(counter.clone(), entry.revision),
        None => Condition::Absent(counter.clone()),
    };
    let value = format!("{number}/").repeat(1 + number as usize % 300);
    let ops = vec![
        Op::put(&counter, number.to_string()),
        Op::put(format!("left/{writer}/{number}"), value.clone()),
        Op::put(format!("right/{writer}/{number}"), value),
    ];
    let Commit::Committed { revision } = store.commit(vec![condition], ops).await.unwrap() else {
        panic!("nobody else writes this counter")
    };
    Entry { key: counter, value: number.to_string().into(), revision, lease: None }
}

/// The child's part: does nothing unless started by the test below.
#[tokio::test]
async fn writer_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let store = EmbeddedStore::open(Path::new(&directory)).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = &store;
        async move {
            let mut held = store.get(&format!("counter/{writer}")).await.unwrap();
            loop {
                let entry = write(store, writer, held.as_ref()).await;
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nack {writer} {} {}", String::from_utf8_lossy(&entry.value), entry.revision)
                    .unwrap();
                out.flush().unwrap();
                held = Some(entry);
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

fn start_writer(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Moments within milliseconds are meant: shorter than a sleep can be.
fn spin(time: Duration) {
    let moment = Instant::now() + time;
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
}

/// Starts a writer and kills it while it makes the store's file.
fn killed_maker(directory: &Path) {
    let [after] = random::<1>();
    let mut child = start_writer(directory);
    while std::fs::read_dir(directory).unwrap().next().is_none() {
        std::hint::spin_loop();
    }
    spin(Duration::from_micros(u64::from(after) * 12));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Starts a writer, kills it some microseconds after some acknowledgement, and answers what it acknowledged.
fn killed_writer(directory: &Path) -> Vec<(usize, u64, u64)> {
    let [count, after] = random::<2>();
    let mut child = start_writer(directory);
    let mut acknowledged = Vec::new();
    // The pipe is read to its end: what was printed before the kill counts.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("ack ") {
            let parts: Vec<u64> = rest.split(' ').filter_map(|n| n.parse().ok()).collect();
            if let [writer, number, revision] = parts[..] {
                acknowledged.push((writer as usize, number, revision));
            }
        }
        if acknowledged.len() == 1 + usize::from(count) {
            spin(Duration::from_micros(u64::from(after) * 20));
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the writer stops only when it is killed: {status}");
    acknowledged
}

/// Everything acknowledged is there, pairs are whole, and the log agrees with the entries.
async fn check(store: &EmbeddedStore, acknowledged: &[(usize, u64, u64)]) {
    for (writer, number, revision) in acknowledged {
        let left =
            store.get(&format!("left/{writer}/{number}")).await.unwrap().expect("an acknowledged write");
        let right =
            store.get(&format!("right/{writer}/{number}")).await.unwrap().expect("an acknowledged write");
        assert_eq!((left.revision, right.revision, &left.value), (*revision, *revision, &right.value));
    }
    let (left, right) = (store.list("left/").await.unwrap(), store.list("right/").await.unwrap());
    assert_eq!(left.entries.len(), right.entries.len(), "commits are atomic");
    let Some(newest) = left.entries.iter().map(|e| e.revision).max() else { return };
    assert_eq!(left.revision, newest, "the counter and the data are one transaction");
    let mut watch = store.watch("", newest).await.unwrap();
    let changes = watch.next().await.unwrap().unwrap();
    assert_eq!(changes.events.len(), 3);
    for event in changes.events {
        let Event::Put(entry) = event else { panic!("only puts were made") };
        assert_eq!(store.get(&entry.key).await.unwrap(), Some(entry));
    }
}

#[tokio::test]
async fn every_acknowledged_write_survives_kill_9_at_any_moment() {
    let directory = tempfile::TempDir::new().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..ROUNDS {
        let path = directory.path().to_owned();
        acknowledged.extend(tokio::task::spawn_blocking(move || killed_writer(&path)).await.unwrap());
        let store = EmbeddedStore::open(directory.path()).await.unwrap();
        check(&store, &acknowledged).await;
        store.close().await;
    }
    assert!(acknowledged.len() >= ROUNDS);
}

#[tokio::test]
async fn a_first_start_that_is_killed_leaves_nothing_in_the_way_of_the_next() {
    for _ in 0..FIRST_STARTS {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().to_owned();
        tokio::task::spawn_blocking(move || killed_maker(&path)).await.unwrap();
        let store = EmbeddedStore::open(directory.path()).await.unwrap();
        store.commit(vec![], vec![Op::put("a", "1")]).await.unwrap();
        store.close().await;
    }
}
