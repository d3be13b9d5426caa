//! What a message costs as a queue grows: `cargo run --release -p state --example messages -- 1000000`.
//! Beside each length of the queue: milliseconds of 200 times send, receive with delete, and count.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use model::{MessageId, NewMessage, Queue, QueueAttributes, QueueName, Timestamp};
use state::{Receive, State};
use std::collections::BTreeMap;
use std::time::Instant;

fn message(sent: Timestamp, group: Option<usize>) -> NewMessage {
    let id = MessageId::generate();
    NewMessage {
        id,
        body: "x".repeat(200),
        attributes: BTreeMap::new(),
        trace: None,
        sender: "root".into(),
        group: group.map(|group| group.to_string()),
        deduplication: group.map(|_| id.to_string()),
        digest: None,
        delay: None,
        sent,
        chain: Default::default(),
    }
}

/// Groups of the FIFO queue.
const GROUPS: usize = 100;

async fn fill(state: &State, name: &QueueName, count: usize) {
    let now = Timestamp::now();
    let group = |at: usize| name.is_fifo().then_some(at % GROUPS);
    for from in (0..count).step_by(1_000) {
        let messages = (from..count.min(from + 1_000)).map(|at| message(now, group(at)));
        let sent = state
            .send_messages(name.clone(), messages.collect())
            .await
            .unwrap();
        assert!(sent.iter().all(Result::is_ok));
    }
}

async fn measure(state: &State, name: &QueueName, length: usize) {
    const TIMES: usize = 200;
    let group = name.is_fifo().then_some(1);
    let began = Instant::now();
    for _ in 0..TIMES {
        let one = vec![message(Timestamp::now(), group)];
        state.send_messages(name.clone(), one).await.unwrap();
    }
    let send = began.elapsed();
    let began = Instant::now();
    for _ in 0..TIMES {
        let asked = Receive {
            queue: name.clone(),
            limit: 1,
            bytes: usize::MAX,
            visibility: None,
        };
        let received = state
            .receive_messages(asked, Timestamp::now())
            .await
            .unwrap();
        let handles = received
            .messages
            .iter()
            .map(|message| message.handle)
            .collect();
        state
            .delete_messages(name.clone(), handles, Timestamp::now())
            .await
            .unwrap();
    }
    let receive = began.elapsed();
    let began = Instant::now();
    for _ in 0..TIMES {
        state
            .queue_counts(name.clone(), Timestamp::now())
            .await
            .unwrap();
    }
    let count = began.elapsed();
    let millis = |time: std::time::Duration| time.as_millis();
    println!(
        "{:>10} {length:>8} messages: send {:>5}, receive and delete {:>5}, count {:>5}",
        name.as_str(),
        millis(send),
        millis(receive),
        millis(count)
    );
}

#[tokio::main]
async fn main() {
    let most: usize = std::env::args()
        .nth(1)
        .map_or(100_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    for name in ["q", "q.fifo"] {
        let name: QueueName = name.parse().unwrap();
        let queue = Queue {
            name: name.clone(),
            created: Timestamp::now(),
            modified: Timestamp::now(),
            attributes: QueueAttributes::default(),
            tags: BTreeMap::new(),
        };
        state.create_queue(queue).await.unwrap();
        let mut length = 0;
        for next in [1_000, 10_000, 100_000, 1_000_000] {
            if next > most {
                break;
            }
            fill(&state, &name, next - length).await;
            length = next;
            measure(&state, &name, length).await;
        }
        let began = Instant::now();
        state.purge_queue(name.clone()).await.unwrap();
        println!(
            "{:>10} purged in {} ms",
            name.as_str(),
            began.elapsed().as_millis()
        );
    }
    state.close().await;
}
