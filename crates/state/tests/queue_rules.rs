//! What queues promise besides the life of a message: settings, moves of dead letters, events, and a
//! cost that does not grow.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use model::{
    EventId, EventState, Kind, Mapping, MappingSpec, MessageId, MoveState, MoveTask, NewEvent,
    NewMessage, Queue, QueueAttributes, QueueName, Redrive, RedriveAllow, Target, Timestamp,
};
use state::{Receive, Settlement, State, Verdict};
use std::collections::BTreeMap;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_000_000);

async fn store() -> (TempDir, State) {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    (folder, state)
}

fn queue(name: &str, attributes: QueueAttributes) -> Queue {
    Queue {
        name: name.parse().unwrap(),
        created: NOW,
        modified: NOW,
        attributes,
        tags: BTreeMap::new(),
    }
}

fn with_dead_letter(name: &str) -> QueueAttributes {
    QueueAttributes {
        redrive: Some(Redrive {
            dead_letter: name.parse().unwrap(),
            max_receives: 1,
        }),
        ..QueueAttributes::default()
    }
}

fn message(body: &str) -> NewMessage {
    NewMessage {
        id: MessageId::generate(),
        body: body.to_owned(),
        attributes: BTreeMap::new(),
        trace: None,
        sender: "root".into(),
        group: None,
        deduplication: None,
        digest: None,
        delay: None,
        sent: NOW,
        chain: Default::default(),
    }
}

async fn bodies(state: &State, name: &QueueName, visibility: u32, now: Timestamp) -> Vec<String> {
    let asked = Receive {
        queue: name.clone(),
        limit: 10,
        bytes: usize::MAX,
        visibility: Some(visibility),
    };
    let received = state.receive_messages(asked, now).await.unwrap();
    received
        .messages
        .into_iter()
        .map(|message| message.sent.body)
        .collect()
}

#[tokio::test]
async fn a_dead_letter_queue_must_be_there_and_agree() {
    let (_folder, state) = store().await;
    let missing = state
        .create_queue(queue("q", with_dead_letter("dead")))
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), Kind::Conflict, "{missing}");
    let nobody = QueueAttributes {
        redrive_allow: RedriveAllow::Nobody,
        ..QueueAttributes::default()
    };
    state.create_queue(queue("dead", nobody)).await.unwrap();
    assert!(
        state
            .create_queue(queue("q", with_dead_letter("dead")))
            .await
            .is_err()
    );
    let dead: QueueName = "dead".parse().unwrap();
    let allow = |attributes: &mut QueueAttributes| {
        attributes.redrive_allow = RedriveAllow::Queues(vec!["q".parse().unwrap()]);
        Ok(())
    };
    state
        .change_queue(dead.clone(), NOW, allow)
        .await
        .unwrap()
        .unwrap();
    assert!(
        state
            .create_queue(queue("q", with_dead_letter("dead")))
            .await
            .unwrap()
            .1
    );
    assert!(
        state
            .create_queue(queue("other", with_dead_letter("dead")))
            .await
            .is_err()
    );
    let sources = state
        .dead_letter_sources(dead, String::new(), 10)
        .await
        .unwrap();
    assert_eq!(sources, ["q".parse().unwrap()]);
    let (present, made) = state
        .create_queue(queue("q", QueueAttributes::default()))
        .await
        .unwrap();
    assert!(!made && present.attributes.redrive.is_some());
}

#[tokio::test]
async fn dead_letters_go_back_where_they_came_from() {
    let (folder, state) = store().await;
    for queue in [
        queue("dead", QueueAttributes::default()),
        queue("q", with_dead_letter("dead")),
    ] {
        state.create_queue(queue).await.unwrap();
    }
    let (q, dead): (QueueName, QueueName) = ("q".parse().unwrap(), "dead".parse().unwrap());
    state
        .send_messages(q.clone(), vec![message("a"), message("b")])
        .await
        .unwrap();
    assert_eq!(bodies(&state, &q, 0, NOW).await, ["a", "b"]);
    assert_eq!(
        bodies(&state, &q, 0, NOW).await,
        Vec::<String>::new(),
        "received too often"
    );
    assert_eq!(
        state.queue_counts(dead.clone(), NOW).await.unwrap().visible,
        2
    );
    let task = MoveTask {
        id: uuid::Uuid::new_v4(),
        source: dead.clone(),
        destination: None,
        rate: None,
        state: MoveState::Running,
        started: NOW,
        moved: 0,
        to_move: 0,
        failure: None,
    };
    let started = state.start_move(task.clone()).await.unwrap();
    assert_eq!(started.to_move, 2);
    let second = MoveTask {
        id: uuid::Uuid::new_v4(),
        ..task.clone()
    };
    assert_eq!(
        state.start_move(second).await.unwrap_err().kind(),
        Kind::Conflict
    );
    let step = state.move_messages(task.id, 1, NOW).await.unwrap();
    assert_eq!(
        (step.state, step.moved, step.into),
        (MoveState::Running, 1, vec![q.clone()])
    );
    state.close().await;
    let state = State::open(folder.path()).await.unwrap();
    assert_eq!(state.running_moves().await.unwrap().len(), 1);
    let step = state.move_messages(task.id, 100, NOW).await.unwrap();
    assert_eq!((step.state, step.moved), (MoveState::Completed, 1));
    assert_eq!(
        state.list_moves(dead.clone(), 10).await.unwrap()[0].moved,
        2
    );
    assert_eq!(bodies(&state, &q, 30, NOW).await, ["a", "b"]);
    assert_eq!(
        state.cancel_move(task.id).await.unwrap_err().kind(),
        Kind::NotFound
    );
    // What was sent there by hand has no source to go back to.
    state
        .send_messages(dead.clone(), vec![message("c")])
        .await
        .unwrap();
    let task = MoveTask {
        id: uuid::Uuid::new_v4(),
        ..task
    };
    state.start_move(task.clone()).await.unwrap();
    let step = state.move_messages(task.id, 100, NOW).await.unwrap();
    assert_eq!((step.state, step.moved), (MoveState::Failed, 0));
    assert_eq!(state.queue_counts(dead, NOW).await.unwrap().visible, 1);
}

fn event(name: &QueueName) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: Target::Queue { name: name.clone() },
        source: "s3:photos".into(),
        kind: "s3:ObjectCreated:Put".into(),
        subject: "a.jpg".into(),
        payload: Bytes::from_static(b"{}"),
        accepted: NOW,
        cause: None,
        replay_of: None,
        delivery: Default::default(),
    }
}

#[tokio::test]
async fn an_event_and_its_message_are_settled_in_one() {
    let (_folder, state) = store().await;
    let q: QueueName = "q".parse().unwrap();
    let event = event(&q);
    state.put_events(vec![event.clone()]).await.unwrap();
    let leased = state
        .lease_events(&event.target, 1, NOW, Timestamp(NOW.0 + 9))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(leased.event.accepted.target, event.target);
    let settlement = Settlement {
        id: event.id,
        epoch: leased.event.epoch,
        verdict: Verdict::Deliver {
            queue: q.clone(),
            message: Box::new(message("{}")),
        },
        run: None,
        at: NOW,
    };
    let missing = state.settle_event(settlement.clone()).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    let kept = state.get_event(event.id).await.unwrap();
    assert_eq!(kept.state, EventState::Leased, "nothing was changed");
    state
        .create_queue(queue("q", QueueAttributes::default()))
        .await
        .unwrap();
    assert!(state.settle_event(settlement.clone()).await.unwrap());
    assert!(
        !state.settle_event(settlement).await.unwrap(),
        "the same epoch settles once"
    );
    assert_eq!(
        state.get_event(event.id).await.unwrap().state,
        EventState::Succeeded
    );
    assert_eq!(bodies(&state, &q, 30, NOW).await, ["{}"]);
    assert_eq!(state.queue_counts(q, NOW).await.unwrap().in_flight, 1);
}

#[tokio::test]
async fn a_fifo_queue_takes_the_body_for_a_deduplication_id_if_it_says_so() {
    let (_folder, state) = store().await;
    state
        .create_queue(queue("q.fifo", QueueAttributes::default()))
        .await
        .unwrap();
    let q: QueueName = "q.fifo".parse().unwrap();
    let sent = NewMessage {
        group: Some("g".into()),
        digest: Some("d".into()),
        ..message("a")
    };
    let refused = state
        .send_messages(q.clone(), vec![sent.clone()])
        .await
        .unwrap()
        .remove(0);
    assert_eq!(refused.unwrap_err().field, "MessageDeduplicationId");
    let content = |attributes: &mut QueueAttributes| {
        attributes.content_deduplication = true;
        Ok(())
    };
    state
        .change_queue(q.clone(), NOW, content)
        .await
        .unwrap()
        .unwrap();
    let again = NewMessage {
        id: MessageId::generate(),
        ..sent.clone()
    };
    let accepted = state
        .send_messages(q.clone(), vec![sent.clone(), again])
        .await
        .unwrap();
    assert_eq!(accepted[0], accepted[1]);
    assert_eq!(accepted[0].as_ref().unwrap().id, sent.id);
    assert_eq!(bodies(&state, &q, 30, NOW).await, ["a"]);
}

#[tokio::test]
async fn a_mapping_is_kept_once_for_queue_and_function() {
    let (_folder, state) = store().await;
    let spec = MappingSpec::new("q".parse().unwrap(), "f".parse().unwrap());
    let mapping = Mapping {
        id: uuid::Uuid::new_v4(),
        spec,
        modified: NOW,
    };
    state.put_mapping(mapping.clone()).await.unwrap();
    let mut changed = mapping.clone();
    changed.spec.batch = 5;
    state.put_mapping(changed.clone()).await.unwrap();
    assert_eq!(state.list_mappings().await.unwrap(), [changed]);
    let other = Mapping {
        id: uuid::Uuid::new_v4(),
        ..mapping.clone()
    };
    assert_eq!(
        state.put_mapping(other).await.unwrap_err().kind(),
        Kind::Conflict
    );
    state.delete_mapping(mapping.id).await.unwrap();
    assert_eq!(
        state.delete_mapping(mapping.id).await.unwrap_err().kind(),
        Kind::NotFound
    );
}
