use super::*;
use collegium_automl::ask::Stage;
use collegium_automl::site::SiteError;

/// Sites that answer with their own number, and panic when the ask's sequence says so.
struct Toys {
    opened: u64,
}

struct Toy {
    number: u64,
    objects: Vec<ObjectId>,
}

const PANICS: u32 = 13;

impl Workshop for Toys {
    fn open(&mut self, _task: &Task) -> Result<OpenSite, TrainerError> {
        self.opened += 1;
        let toy = Toy {
            number: self.opened,
            objects: Vec::new(),
        };
        Ok(OpenSite {
            site: Box::new(toy),
            data: Digest([7; 32]),
            rows: 5,
            columns: vec!["y".to_owned()],
        })
    }

    fn report(&mut self, task: &Task, champion: &[u8]) -> Result<serde_json::Value, TrainerError> {
        Ok(serde_json::json!({"task": task.name, "bytes": champion.len()}))
    }
}

impl Site for Toy {
    fn missing(&self, ask: &Ask) -> Vec<ObjectId> {
        let known = |id: &ObjectId| self.objects.contains(id);
        [ask.task].into_iter().filter(|id| !known(id)).collect()
    }

    fn insert(&mut self, bytes: &[u8]) -> Result<ObjectId, SiteError> {
        let id = ObjectId::of(bytes);
        self.objects.push(id);
        Ok(id)
    }

    fn columns(&self, _ask: &Ask) -> Result<BTreeSet<String>, SiteError> {
        Ok(BTreeSet::new())
    }

    fn answer(&mut self, ask: &Ask) -> Result<Answer, SiteError> {
        assert!(ask.sequence != PANICS, "the thirteenth ask");
        Ok(Answer {
            codes: vec![self.number, u64::from(ask.sequence)],
        })
    }
}

fn ask(sequence: u32) -> Ask {
    Ask {
        sequence,
        stage: Stage::Race,
        task: ObjectId::of(b"object"),
        parts: Vec::new(),
    }
}

fn run(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

const TASK: &str = "name = \"toy\"\ntarget = \"y\"\n";

async fn codes(trainer: &Trainer, id: RunId, sequence: u32) -> Vec<u64> {
    let answered = trainer
        .answer(id, ask(sequence), None)
        .await
        .expect("answers");
    assert_eq!(answered.data, Digest([7; 32]));
    answered.answer.codes
}

#[tokio::test]
async fn asks_go_in_and_answers_come_out() {
    let trainer = Trainer::start(Toys { opened: 0 }, 2).expect("a thread");
    assert!(matches!(
        trainer.answer(run(1), ask(1), None).await,
        Err(TrainerError::NotOpen(_))
    ));
    let opened = trainer.open(run(1), TASK.into()).await.expect("opens");
    assert_eq!((opened.data, opened.rows), (Digest([7; 32]), 5));
    let missing = trainer.missing(run(1), ask(1)).await.expect("missing");
    assert_eq!(missing, [ObjectId::of(b"object")]);
    let id = trainer
        .insert(run(1), b"object".to_vec())
        .await
        .expect("inserts");
    assert_eq!(id, missing[0]);
    assert!(
        trainer
            .missing(run(1), ask(1))
            .await
            .expect("missing")
            .is_empty()
    );
    assert_eq!(codes(&trainer, run(1), 4).await, [1, 4]);
    let report = trainer.report(run(1), vec![0; 3]).await.expect("reports");
    assert_eq!(report, serde_json::json!({"task": "toy", "bytes": 3}));
    trainer.close(run(1));
    assert!(trainer.answer(run(1), ask(5), None).await.is_err());
}

#[tokio::test]
async fn a_panic_refuses_one_step_and_the_next_is_answered() {
    let trainer = Trainer::start(Toys { opened: 0 }, 2).expect("a thread");
    trainer.open(run(1), TASK.into()).await.expect("opens");
    assert_eq!(codes(&trainer, run(1), 1).await, [1, 1]);
    match trainer.answer(run(1), ask(PANICS), None).await {
        Err(TrainerError::Panicked(text)) => assert!(text.contains("thirteenth"), "{text}"),
        other => panic!(
            "a panic must become an error: {:?}",
            other.map(|answered| answered.answer)
        ),
    }
    // Built anew: whatever the panic left half-done is gone.
    assert_eq!(codes(&trainer, run(1), 2).await, [2, 2]);
}

#[tokio::test]
async fn only_so_many_runs_stay_in_memory() {
    let trainer = Trainer::start(Toys { opened: 0 }, 2).expect("a thread");
    for number in 1..=3 {
        trainer.open(run(number), TASK.into()).await.expect("opens");
    }
    assert_eq!(codes(&trainer, run(2), 1).await[0], 2);
    assert_eq!(codes(&trainer, run(3), 1).await[0], 3);
    // The first was pushed out by the third and is read again, which pushes out the second.
    assert_eq!(codes(&trainer, run(1), 1).await[0], 4);
    assert_eq!(codes(&trainer, run(3), 1).await[0], 3);
    assert_eq!(codes(&trainer, run(2), 1).await[0], 5);
}

#[tokio::test]
async fn a_task_that_cannot_be_read_says_why() {
    let trainer = Trainer::start(Toys { opened: 0 }, 1).expect("a thread");
    let error = trainer.open(run(1), b"nmae = 1".to_vec()).await;
    assert!(matches!(error, Err(TrainerError::Task(_))), "{error:?}");
    let error = trainer.open(run(1), vec![0xff]).await;
    assert!(matches!(error, Err(TrainerError::Task(_))), "{error:?}");
}
