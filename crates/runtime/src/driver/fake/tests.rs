#![allow(clippy::unwrap_used)]
use super::*;
use crate::Runtime;
use crate::spec::tests::spec;

fn invocation(timeout: u64) -> Invocation {
    Invocation {
        request_id: RequestId::generate(),
        payload: Bytes::new(),
        http: None,
        event: None,
        client_context: None,
        trace_id: String::new(),
        function_arn: String::new(),
        timeout,
    }
}

fn done() -> Ending {
    Ending::Succeeded {
        payload: Bytes::from_static(b"1"),
        http: None,
    }
}

/// Starts in 20 ms; each call takes 50 ms.
fn fake() -> Fake {
    Fake::new(
        |_| FakeStart {
            takes: Duration::from_millis(20),
            fails: None,
        },
        |_| (Duration::from_millis(50), done(), true),
    )
}

#[tokio::test(start_paused = true)]
async fn starts_and_calls_take_the_time_that_the_script_says() {
    let fake = fake();
    let runtime = Runtime::fake(fake.clone());
    let instance = runtime.start(spec()).await.unwrap();
    assert_eq!(instance.start_timing().0, 20_000);
    let call = invocation(1_000);
    let id = call.request_id.clone();
    let outcome = instance.call(call).await;
    assert_eq!(outcome.ending, done());
    assert_eq!(outcome.timing.run, 50_000);
    assert_eq!(fake.calls(), [(instance.id().clone(), id)]);
    assert_eq!(fake.alive(), [instance.id().clone()]);
    instance.stop(Duration::ZERO).await;
    assert!(fake.alive().is_empty());
    assert_eq!(fake.started().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_past_its_timeout_ends_the_instance() {
    let runtime = Runtime::fake(fake());
    let instance = runtime.start(spec()).await.unwrap();
    let outcome = instance.call(invocation(10)).await;
    assert_eq!(outcome.ending, Ending::TimedOut { after: 10 });
    assert!(!instance.is_alive());
    assert_eq!(instance.exited().await, "signal 9 (SIGKILL)");
}

#[tokio::test(start_paused = true)]
async fn a_call_may_be_late_and_its_end_is_told() {
    let fake = fake();
    let ends = Arc::new(Mutex::new(Vec::new()));
    let told = ends.clone();
    fake.on_end(move |_, ending| told.lock().unwrap().push(ending.cloned()));
    fake.allow_late();
    let instance = Runtime::fake(fake).start(spec()).await.unwrap();
    assert_eq!(instance.call(invocation(10)).await.ending, done());
    let short = Duration::from_millis(10);
    let broken_off = tokio::time::timeout(short, instance.call(invocation(10))).await;
    assert!(broken_off.is_err());
    assert_eq!(*ends.lock().unwrap(), [Some(done()), None]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_ends_by_itself_has_crashed() {
    let fake = fake();
    let instance = Runtime::fake(fake.clone()).start(spec()).await.unwrap();
    let id = instance.id().clone();
    let (outcome, ()) = tokio::join!(instance.call(invocation(1_000)), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        fake.end(&id, "exit status 1");
    });
    let how = "exit status 1".to_owned();
    assert_eq!(outcome.ending, Ending::Crashed { how });
}

#[tokio::test(start_paused = true)]
async fn a_frozen_instance_does_not_answer_until_it_is_thawed() {
    let fake = fake();
    let instance = Runtime::fake(fake.clone()).start(spec()).await.unwrap();
    instance.freeze();
    instance.freeze();
    instance.thaw();
    assert!(instance.call(invocation(1_000)).await.ending.succeeded());
    instance.freeze();
    let late = instance.call(invocation(1_000)).await;
    assert_eq!(late.ending, Ending::TimedOut { after: 1_000 });
    let id = instance.id().clone();
    drop(instance);
    use FakeStep::{Called, Frozen, Thawed};
    let steps = [Frozen, Thawed, Called, Frozen, Called, Thawed];
    assert_eq!(fake.steps(&id), steps);
}

#[tokio::test(start_paused = true)]
async fn a_start_fails_as_the_script_says() {
    let fails = Ending::InitFailed {
        error_type: "Error".into(),
        message: "no store".into(),
    };
    let script = fails.clone();
    let fake = Fake::new(
        move |_| FakeStart {
            takes: Duration::ZERO,
            fails: Some(script.clone()),
        },
        |_| (Duration::ZERO, done(), true),
    );
    match Runtime::fake(fake.clone()).start(spec()).await.map(|_| ()) {
        Err(Error::Init { ending, .. }) => assert_eq!(*ending, fails),
        other => panic!("{other:?}"),
    }
    assert!(fake.started().is_empty());
}
