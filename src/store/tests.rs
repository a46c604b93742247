//! The store on real files.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Map, json};
use tempfile::TempDir;

use super::*;
use crate::base::clock::tests::test_now;
use crate::model::access::{
    AccessKind, Block, BlockKind, ConnectionEvent, ConnectionEventKind, Subscriber, Token,
};
use crate::model::broadcast::{BroadcastPatch, BroadcastRecord, BroadcastStatus};
use crate::model::mail::AppName;

fn clock() -> Instant {
    test_now().instant
}

fn app() -> AppName {
    AppName::from("live")
}

fn start() -> (Store, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Store::start(directory.path(), clock).unwrap(), directory)
}

fn named(id: &str, name: &str, date: i64) -> BroadcastRecord {
    BroadcastRecord {
        stream_id: id.to_owned(),
        name: Some(name.to_owned()),
        date,
        ..BroadcastRecord::default()
    }
}

fn token(text: &str, stream: &str, expire_date: i64) -> Token {
    Token {
        token_id: text.to_owned(),
        stream_id: stream.to_owned(),
        expire_date,
        kind: AccessKind::Play,
        room_id: None,
    }
}

fn subscriber(id: &str) -> Subscriber {
    Subscriber {
        subscriber_id: id.to_owned(),
        stream_id: "s".to_owned(),
        subscriber_name: Some("Anna".to_owned()),
        b32_secret: Some("JBSWY3DPEHPK3PXP".to_owned()),
        kind: AccessKind::Publish,
        concurrent_connections_limit: 2,
        totp_expiry_period_seconds: Some(30),
    }
}

#[tokio::test]
async fn broadcasts_are_made_found_changed_and_forgotten() {
    let (store, directory) = start();
    let app = app();
    let record = named("s", "First", 5);
    store.create_broadcast(&app, record.clone()).await.unwrap();
    assert_eq!(
        store.create_broadcast(&app, record.clone()).await,
        Err(StoreError::Exists)
    );
    let other = AppName::from("other");
    assert_eq!(store.broadcast(&other, "s").await, Ok(None));
    assert_eq!(store.broadcast(&app, "s").await, Ok(Some(record)));

    let fields = Map::from_iter([("description".to_owned(), json!("text"))]);
    let patch = BroadcastPatch::new(fields).unwrap();
    assert_eq!(
        store.update_broadcast(&app, "s", patch.clone()).await,
        Ok(true)
    );
    assert_eq!(store.update_broadcast(&app, "no", patch).await, Ok(false));
    let live = BroadcastStatus::Broadcasting;
    assert_eq!(
        store.set_broadcast_status(&app, "s", live, 1000).await,
        Ok(true)
    );
    assert_eq!(
        store.set_broadcast_status(&app, "no", live, 1000).await,
        Ok(false)
    );
    let over = BroadcastStatus::Finished;
    assert_eq!(
        store.set_broadcast_status(&app, "s", over, 3500).await,
        Ok(true)
    );
    drop(store);

    let store = Store::start(directory.path(), clock).unwrap();
    let kept = store.broadcast(&app, "s").await.unwrap().unwrap();
    assert_eq!(kept.description.as_deref(), Some("text"));
    assert_eq!(
        (kept.status, kept.start_time, kept.duration),
        (over, 1000, 2500)
    );
    assert_eq!(store.delete_broadcast(&app, "s").await, Ok(true));
    assert_eq!(store.delete_broadcast(&app, "s").await, Ok(false));
}

#[tokio::test]
async fn broadcasts_are_listed_in_pages_sorted_and_searched() {
    let (store, _directory) = start();
    let app = app();
    for (id, name, date) in [("a", "Zoe \u{c9}", 3), ("b", "yak", 1), ("c", "50% off", 2)] {
        let record = named(id, name, date);
        store.create_broadcast(&app, record).await.unwrap();
    }
    let cases = [
        (BroadcastQuery::default(), 0, 50, "abc"),
        (BroadcastQuery::default(), 1, 1, "b"),
        (
            BroadcastQuery {
                descending: true,
                ..Default::default()
            },
            0,
            50,
            "cba",
        ),
        (
            BroadcastQuery {
                sort_by: SortBy::Date,
                ..Default::default()
            },
            0,
            50,
            "bca",
        ),
        (
            BroadcastQuery {
                sort_by: SortBy::Name,
                ..Default::default()
            },
            0,
            50,
            "cab",
        ),
        (
            BroadcastQuery {
                search: "YAK".to_owned(),
                ..Default::default()
            },
            0,
            50,
            "b",
        ),
        (
            BroadcastQuery {
                search: "zoe \u{c9}".to_owned(),
                ..Default::default()
            },
            0,
            50,
            "a",
        ),
        (
            BroadcastQuery {
                search: "0% o".to_owned(),
                ..Default::default()
            },
            0,
            50,
            "c",
        ),
        (
            BroadcastQuery {
                search: "%".to_owned(),
                ..Default::default()
            },
            0,
            50,
            "c",
        ),
        (
            BroadcastQuery {
                kind: Some("vod".to_owned()),
                ..Default::default()
            },
            0,
            50,
            "",
        ),
        (
            BroadcastQuery {
                status: Some(BroadcastStatus::Created),
                ..Default::default()
            },
            0,
            50,
            "abc",
        ),
    ];
    for (query, offset, size, ids) in cases {
        let listed = store
            .list_broadcasts(&app, query.clone(), offset, size)
            .await;
        let listed: String = listed
            .unwrap()
            .iter()
            .map(|b| b.stream_id.as_str())
            .collect();
        assert_eq!(listed, ids, "{query:?}");
        if size == 50 {
            let count = store.count_broadcasts(&app, query).await.unwrap();
            assert_eq!(count, ids.len() as u64);
        }
    }
}

#[tokio::test]
async fn a_room_holds_as_many_subtracks_as_it_may() {
    let (store, _directory) = start();
    let app = app();
    let room = BroadcastRecord {
        subtracks_limit: 1,
        ..named("room", "Room", 1)
    };
    for record in [room, named("a", "A", 2), named("b", "B", 3)] {
        store.create_broadcast(&app, record).await.unwrap();
    }
    assert_eq!(
        store.set_subtrack(&app, "room", "none", true).await,
        Ok(false)
    );
    assert_eq!(store.set_subtrack(&app, "room", "a", true).await, Ok(true));
    assert_eq!(store.set_subtrack(&app, "room", "a", true).await, Ok(true));
    assert_eq!(
        store.set_subtrack(&app, "room", "b", true).await,
        Err(StoreError::Full)
    );
    let room = store.broadcast(&app, "room").await.unwrap().unwrap();
    assert_eq!(room.sub_track_stream_ids, ["a"]);
    let query = BroadcastQuery {
        main_track: Some("room".to_owned()),
        ..BroadcastQuery::default()
    };
    let subtracks = store
        .list_broadcasts(&app, query.clone(), 0, 9)
        .await
        .unwrap();
    assert_eq!(subtracks.len(), 1);
    assert_eq!(store.set_subtrack(&app, "room", "a", false).await, Ok(true));
    assert_eq!(store.count_broadcasts(&app, query).await, Ok(0));
    // One that is deleted leaves its place to others.
    assert_eq!(store.set_subtrack(&app, "room", "b", true).await, Ok(true));
    assert_eq!(store.delete_broadcast(&app, "b").await, Ok(true));
    let room = store.broadcast(&app, "room").await.unwrap().unwrap();
    assert_eq!(room.sub_track_stream_ids, [""; 0]);
    assert_eq!(store.set_subtrack(&app, "room", "a", true).await, Ok(true));
    // So does one that moves to another room.
    let other = named("other", "Other", 4);
    store.create_broadcast(&app, other).await.unwrap();
    assert_eq!(store.set_subtrack(&app, "other", "a", true).await, Ok(true));
    let room = store.broadcast(&app, "room").await.unwrap().unwrap();
    assert_eq!(room.sub_track_stream_ids, [""; 0]);
    let moved = store.broadcast(&app, "a").await.unwrap().unwrap();
    assert_eq!(moved.main_track_stream_id.as_deref(), Some("other"));
}

#[tokio::test]
async fn a_token_is_used_once_and_its_text_is_nowhere_in_the_file() {
    let (store, directory) = start();
    let app = app();
    let text = "SecretTokenText4711";
    store
        .create_token(&app, token(text, "s", 100), 0)
        .await
        .unwrap();
    assert_eq!(
        store.create_token(&app, token(text, "s", 100), 0).await,
        Err(StoreError::Exists)
    );
    let grant = store.token(&app, text).await.unwrap().unwrap();
    assert_eq!((grant.stream_id.as_str(), grant.expire_date), ("s", 100));
    let listed = store.list_tokens(&app, "s", 0, 50).await.unwrap();
    assert_eq!((listed.len(), listed[0].token_id.len()), (1, 64));

    let uses: Vec<_> = (0..8)
        .map(|_| {
            let (store, app) = (store.clone(), app.clone());
            tokio::spawn(async move { store.consume_token(&app, text).await })
        })
        .collect();
    let mut used = 0;
    for one in uses {
        used += usize::from(one.await.unwrap().unwrap());
    }
    assert_eq!(used, 1);
    for file in fs::read_dir(directory.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let found = bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes());
        assert!(!found);
    }
}

#[tokio::test]
async fn tokens_that_have_ended_are_forgotten() {
    let (store, _directory) = start();
    let app = app();
    store
        .create_token(&app, token("old", "s", 100), 0)
        .await
        .unwrap();
    store
        .create_token(&app, token("new", "s", 300), 100)
        .await
        .unwrap();
    assert_eq!(store.token(&app, "old").await, Ok(None));
    assert!(store.token(&app, "new").await.unwrap().is_some());
    assert_eq!(store.delete_tokens(&app, "s").await, Ok(1));
}

#[tokio::test]
async fn subscribers_and_blocks_are_kept() {
    let (store, _directory) = start();
    let app = app();
    store
        .put_subscriber(&app, subscriber("anna"))
        .await
        .unwrap();
    let found = store.subscriber(&app, "s", "anna").await.unwrap();
    assert_eq!(found, Some(subscriber("anna")));
    let block = Block {
        kind: BlockKind::Play,
        until_unix_ms: 5000,
    };
    for id in ["anna", "unknown"] {
        store
            .block_subscriber(&app, "s", id, block, 1000)
            .await
            .unwrap();
        assert_eq!(store.block(&app, "s", id).await, Ok(Some(block)));
    }
    let listed = store.list_subscribers(&app, "s", 0, 50).await.unwrap();
    let shown = Subscriber {
        b32_secret: None,
        ..subscriber("anna")
    };
    assert_eq!(listed, [(shown, Some(block))]);
    let ended = Block {
        until_unix_ms: 1000,
        ..block
    };
    store
        .block_subscriber(&app, "s", "unknown", ended, 1000)
        .await
        .unwrap();
    assert_eq!(store.block(&app, "s", "unknown").await, Ok(None));
    assert_eq!(store.delete_subscriber(&app, "s", "anna").await, Ok(true));
    assert_eq!(store.block(&app, "s", "anna").await, Ok(None));
    assert_eq!(store.delete_subscribers(&app, "s").await, Ok(0));
}

#[tokio::test]
async fn one_read_gathers_what_is_known_of_a_request() {
    let (store, _directory) = start();
    let app = app();
    let in_room = BroadcastRecord {
        main_track_stream_id: Some("room".to_owned()),
        ..named("s", "S", 1)
    };
    store.create_broadcast(&app, in_room.clone()).await.unwrap();
    let room = named("room", "Room", 2);
    store.create_broadcast(&app, room.clone()).await.unwrap();
    let of_room = Subscriber {
        stream_id: "room".to_owned(),
        ..subscriber("anna")
    };
    store.put_subscriber(&app, of_room.clone()).await.unwrap();
    store
        .create_token(&app, token("t", "s", 100), 0)
        .await
        .unwrap();
    let query = AdmissionQuery {
        app: app.clone(),
        stream: "s".to_owned(),
        main_track: None,
        subscriber_id: Some("anna".to_owned()),
        token: Some("t".to_owned()),
    };
    let facts = store.admission(query).await.unwrap();
    assert_eq!(facts.broadcast, Some(in_room));
    assert_eq!(facts.main, Some(room));
    assert_eq!(facts.subscriber, Some(of_room));
    assert_eq!(facts.token.unwrap().stream_id, "s");
    assert!(facts.blocks.is_empty());
}

#[tokio::test]
async fn settings_and_the_latest_events_are_kept() {
    let (store, _directory) = start();
    let app = app();
    for value in [1, 2] {
        let overrides = Map::from_iter([("webRTCViewerLimit".to_owned(), json!(value))]);
        store.put_settings(&app, overrides).await.unwrap();
    }
    let all = store.all_settings().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1["webRTCViewerLimit"], 2);

    let max = crate::base::limits::MAX_EVENTS_PER_STREAM as i64;
    for timestamp in 0..max + 5 {
        let event = ConnectionEvent {
            stream_id: "s".to_owned(),
            subscriber_id: if timestamp % 2 == 0 { "even" } else { "odd" }.to_owned(),
            event_type: ConnectionEventKind::Connected,
            timestamp,
            kind: AccessKind::Play,
            event_protocol: "webrtc".to_owned(),
        };
        store.add_event(&app, event).await.unwrap();
    }
    let times = |events: Vec<ConnectionEvent>| -> Vec<i64> {
        events.iter().map(|event| event.timestamp).collect()
    };
    let all = store.list_events(&app, "s", None, 0, 5000).await.unwrap();
    assert_eq!(times(all), (5..max + 5).collect::<Vec<_>>());
    let odd = store
        .list_events(&app, "s", Some("odd"), 1, 2)
        .await
        .unwrap();
    assert_eq!(times(odd), [7, 9]);
}

/// A store in which `s` is on air.
async fn start_on_air() -> (Store, TempDir) {
    let (store, directory) = start();
    let app = app();
    store
        .create_broadcast(&app, named("s", "S", 1))
        .await
        .unwrap();
    let live = BroadcastStatus::Broadcasting;
    store
        .set_broadcast_status(&app, "s", live, 1)
        .await
        .unwrap();
    (store, directory)
}

#[tokio::test]
async fn what_was_on_air_when_the_process_ended_is_marked_so() {
    let (store, directory) = start_on_air().await;
    let app = app();
    drop(store);
    let store = Store::start(directory.path(), clock).unwrap();
    let kept = store.broadcast(&app, "s").await.unwrap().unwrap();
    assert_eq!(kept.status, BroadcastStatus::TerminatedUnexpectedly);
}

#[tokio::test]
async fn what_was_on_air_is_marked_so_when_the_file_can_only_be_opened_later() {
    let (store, directory) = start_on_air().await;
    let app = app();
    close(store, directory.path());
    let other = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let store = Store::start(directory.path(), clock).unwrap();
    assert!(!is_usable(&store).await);
    other.execute_batch("ROLLBACK").unwrap();
    store.tick();
    let kept = store.broadcast(&app, "s").await.unwrap().unwrap();
    assert_eq!(kept.status, BroadcastStatus::TerminatedUnexpectedly);

    // What this process has put on air goes on over an outage.
    store
        .set_broadcast_status(&app, "s", BroadcastStatus::Broadcasting, 2)
        .await
        .unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.create_broadcast(&app, named("t", "T", 1)).await;
    assert_eq!(refused, Err(StoreError::Unavailable));
    other.execute_batch("ROLLBACK").unwrap();
    store.tick();
    let kept = store.broadcast(&app, "s").await.unwrap().unwrap();
    assert_eq!(kept.status, BroadcastStatus::Broadcasting);
}

#[tokio::test]
async fn a_file_of_version_1_goes_on_with_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let db = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    schema::tests::make_version_1(&db);
    let json = serde_json::to_string(&named("s", "Old", 1)).unwrap();
    db.execute("INSERT INTO broadcasts VALUES ('live', 's', ?1)", [json])
        .unwrap();
    drop(db);
    let store = Store::start(directory.path(), clock).unwrap();
    let kept = store.broadcast(&app(), "s").await.unwrap().unwrap();
    assert_eq!(kept.name.as_deref(), Some("Old"));
    let block = Block {
        kind: BlockKind::Play,
        until_unix_ms: 5000,
    };
    store
        .block_subscriber(&app(), "s", "x", block, 0)
        .await
        .unwrap();
}

async fn is_usable(store: &Store) -> bool {
    let outcome = store
        .count_broadcasts(&app(), BroadcastQuery::default())
        .await;
    assert!(
        matches!(outcome, Ok(_) | Err(StoreError::Unavailable)),
        "{outcome:?}"
    );
    outcome.is_ok()
}

#[tokio::test]
async fn a_damaged_file_is_an_outage_until_it_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    fs::write(
        &path,
        "this is no database, and long enough to be read as one".repeat(90),
    )
    .unwrap();
    let store = Store::start(directory.path(), clock).unwrap();
    assert!(!is_usable(&store).await);
    assert!(!store.is_up());
    store.tick();
    assert!(!is_usable(&store).await);
    fs::remove_file(&path).unwrap();
    store.tick();
    assert!(is_usable(&store).await);
    assert!(store.is_up());
}

#[tokio::test]
async fn damage_inside_the_file_is_found_when_it_is_opened() {
    let (store, directory) = start();
    let app = app();
    for i in 0..200 {
        let record = named(&format!("stream{i}"), &"name".repeat(50), i);
        store.create_broadcast(&app, record).await.unwrap();
    }
    close(store, directory.path());
    let path = directory.path().join(FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    for byte in &mut bytes[len / 2..len / 2 + 8192] {
        *byte ^= 0x5a;
    }
    fs::write(&path, bytes).unwrap();
    let store = Store::start(directory.path(), clock).unwrap();
    assert!(!is_usable(&store).await);
}

#[tokio::test]
async fn a_locked_file_is_an_outage_until_it_is_let_go() {
    let (store, directory) = start();
    assert!(is_usable(&store).await);
    let other = Connection::open(directory.path().join(FILE_NAME)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.create_broadcast(&app(), named("s", "S", 1)).await;
    assert_eq!(refused, Err(StoreError::Unavailable));
    assert!(!is_usable(&store).await);
    other.execute_batch("ROLLBACK").unwrap();
    store.tick();
    store
        .create_broadcast(&app(), named("s", "S", 1))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_an_outage_until_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::write(&data, "in the way").unwrap();
    let store = Store::start(&data, clock).unwrap();
    assert!(!is_usable(&store).await);
    fs::remove_file(&data).unwrap();
    store.tick();
    assert!(is_usable(&store).await);
}

#[tokio::test]
async fn a_file_that_is_removed_while_it_is_open_is_made_again() {
    let (store, directory) = start();
    store
        .create_broadcast(&app(), named("s", "S", 1))
        .await
        .unwrap();
    for file in fs::read_dir(directory.path()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    store.tick();
    assert_eq!(store.broadcast(&app(), "s").await, Ok(None));
    store
        .create_broadcast(&app(), named("s", "S", 1))
        .await
        .unwrap();
    assert!(directory.path().join(FILE_NAME).exists());
}

#[tokio::test]
async fn only_the_servers_user_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (store, directory) = start();
    store
        .create_broadcast(&app(), named("s", "S", 1))
        .await
        .unwrap();
    for file in fs::read_dir(directory.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}

/// Drops the last handle and waits until its thread has closed the file.
fn close(store: Store, directory: &Path) {
    drop(store);
    let wal = directory.join(format!("{FILE_NAME}-wal"));
    while wal.exists() {
        std::thread::yield_now();
    }
}
