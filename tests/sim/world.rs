//! One run's world: the server, which dies and lives again on the same file, its hosts, its clocks.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use muster::{
    app::{App, Parts, payments::Delivery, secrets::Seal},
    chance::Seeded,
    error::Kind,
    ids::{HostId, MemberId, TeamId},
    money::Credits,
    op::{Actor, Op, SystemActor, SystemWarrant},
    store::Db,
    time::{Clock as _, ManualClock, Span, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    asks::Ask,
    dice::Dice,
    engine::{Engine, Lines, Runs},
    fate::{Fate, Weather},
    foundation::{Foundation, Team, settings},
    provider::Fake,
};

/// How often a caller asks again before something must be wrong.
const PATIENCE: u32 = 30;
/// Time zones of the teams.
pub(crate) const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"];
/// After so many attempts the weather is calm.
const STORM: u32 = 3;

/// Lengths and manners of one run.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) interval: Span,
    pub(crate) runway: Span,
    /// Whose clock is wrong now and then.
    pub(crate) crooked: Crooked,
    /// The terms of each team.
    pub(crate) terms: Vec<Value>,
    pub(crate) credit_limit: Credits,
    /// How rich people are.
    pub(crate) wealth: i64,
    pub(crate) start: Timestamp,
}

/// Whose clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crooked {
    Nobody,
    Server,
    Hosts,
}

/// What one run happens in.
pub(crate) struct World {
    pub(crate) foundation: Arc<Foundation>,
    pub(crate) manner: Manner,
    pub(crate) dice: Dice,
    /// What the server takes for the time.
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) truth: Arc<ManualClock>,
    pub(crate) engines: BTreeMap<HostId, Arc<Engine>>,
    pub(crate) runs: Arc<Runs>,
    /// A payment provider that behaves badly.
    pub(crate) provider: Arc<Fake>,
    pub(crate) fate: Arc<Fate>,
    pub(crate) weather: Weather,
    pub(crate) app: Option<App>,
    /// A view of the same database, which no fault touches.
    pub(crate) db: Db,
    /// The most that the server's clock was ever ahead of the truth.
    pub(crate) ahead: Span,
    pub(crate) deaths: i64,
    pub(crate) steps: i64,
    /// How much was in the books when they were checked last.
    pub(crate) verified: (i64, i64, i64),
    /// What was asked for and got a final answer.
    pub(crate) answered: Vec<(String, Ask, Result<Value, &'static str>)>,
    /// Codes of vouchers that somebody was shown.
    pub(crate) codes: Vec<String>,
    pub(crate) trace: Trace,
    chance: Arc<Seeded>,
    file: PathBuf,
    keys: u64,
}

/// What happened so far, for whoever has to find out why.
pub(crate) type Trace = Arc<Mutex<Vec<String>>>;

impl World {
    pub(crate) async fn new(foundation: Arc<Foundation>, seed: u64, trace: Trace) -> Self {
        let dice = Dice::new(seed);
        let manner = manner(&dice);
        let file = foundation.folder.join(format!("{seed}.db"));
        std::fs::copy(&foundation.database, &file).unwrap();
        let clock = Arc::new(ManualClock::new(manner.start));
        let truth = Arc::new(ManualClock::new(manner.start));
        let engine = |(id, name): &(HostId, String)| (*id, Engine::new(name, truth.clone()));
        let engines = foundation.hosts.iter().map(engine).collect();
        let db = Db::open(&format!("sqlite:{}", file.display())).await.unwrap();
        let mut world = Self {
            manner,
            clock,
            engines,
            runs: Arc::default(),
            provider: Arc::new(Fake::new(Some(seed))),
            fate: Arc::new(Fate::new(seed)),
            weather: Weather::default(),
            app: None,
            db,
            ahead: Span::from_micros(0),
            deaths: 0,
            steps: 0,
            verified: Default::default(),
            answered: Vec::new(),
            codes: Vec::new(),
            trace,
            chance: Arc::new(Seeded::new(seed ^ 0x5eed)),
            file,
            keys: 0,
            foundation,
            dice,
            truth,
        };
        world.tell(format!("{:?}", world.manner));
        world.terms_put().await;
        world.live().await;
        world
    }

    /// Ends the run.
    pub(crate) async fn close(mut self) {
        if let Some(app) = self.app.take() {
            app.close().await;
        }
        self.db.close().await;
        for end in ["", "-wal", "-shm"] {
            // What is left goes with the folder.
            let _ = std::fs::remove_file(format!("{}{end}", self.file.display()));
        }
    }

    pub(crate) fn tell(&self, what: String) {
        self.trace.lock().unwrap().push(what);
    }

    pub(crate) fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub(crate) fn team(&self, team: usize) -> &Team {
        &self.foundation.teams[team]
    }

    /// The server starts on what its last life has left.
    async fn live(&mut self) {
        self.fate = Arc::new(Fate::new(self.dice.below(u64::MAX)));
        let db = Db::open(&format!("sqlite:{}", self.file.display())).await.unwrap();
        let parts = Parts {
            db: db.with_faults(self.fate.clone()),
            policies: self.foundation.policies.clone(),
            plugins: self.foundation.plugins.clone(),
            providers: vec![self.provider.clone()],
            seal: Seal::new(&[7; 32]),
            settings: settings(self.manner.interval, self.manner.runway, &self.foundation.folder),
            clock: self.clock.clone(),
            chance: self.chance.clone(),
        };
        let lines = Lines {
            engines: self.engines.clone(),
            fate: self.fate.clone(),
            clock: self.clock.clone(),
            runs: self.runs.clone(),
            unnamed: Mutex::default(),
        };
        self.app = Some(App::open(parts).await.unwrap().0.with_connector(Arc::new(lines)));
        // A server that cannot start is started again until it can.
        self.fate.weather(self.weather);
    }

    /// The server dies, with all that it had in memory, and starts again.
    pub(crate) async fn die(&mut self) {
        self.tell("  the server dies".to_owned());
        self.fate.end();
        self.deaths += 1;
        // What a death leaves behind is looked at in any case.
        self.verified = Default::default();
        self.app = None;
        self.live().await;
    }

    /// From now on things go wrong this often.
    pub(crate) fn weather(&mut self, weather: Weather) {
        self.weather = weather;
        self.fate.weather(weather);
    }

    /// All clocks go on.
    pub(crate) fn pass(&self, span: Span) {
        self.clock.advance(span);
        self.truth.advance(span);
    }

    /// The server's clock jumps ahead.
    pub(crate) fn clock_forth(&mut self, span: Span) {
        self.clock.advance(span);
        self.ahead = self.ahead.max(self.clock.now() - self.truth.now());
    }

    /// The server's clock is right again.
    pub(crate) fn clock_right(&self) {
        self.clock.advance(self.truth.now() - self.clock.now());
    }

    pub(crate) fn system(&self, actor: SystemActor) -> Op {
        self.app().op(Actor::System(actor))
    }

    /// The operator has a host probed.
    pub(crate) async fn probe(&mut self, host: HostId) {
        for _ in 0..PATIENCE {
            let op = self.app().op(self.foundation.operator.clone());
            if self.app().host_probe(&op, host).await.is_ok() {
                return;
            }
            if self.fate.is_dead() {
                self.die().await;
            }
        }
        panic!("a host cannot be probed");
    }

    async fn terms_put(&self) {
        const TERMS: &str = "UPDATE teams SET terms = $2, credit_limit = $3 WHERE id = $1";
        let op = Op::new(Actor::System(SystemActor::Setup), self.clock.clone(), self.chance.clone());
        let mut tx = self.db.begin().await.unwrap();
        for (team, terms) in self.foundation.teams.iter().zip(&self.manner.terms) {
            let put = tx.query(TERMS).bind(team.id).bind(terms.to_string().as_str());
            put.bind(self.manner.credit_limit).execute().await.unwrap();
        }
        tx.commit(&SystemWarrant::of(&op).unwrap()).await.unwrap();
    }

    // What people ask for ---------------------------------------------------------------------------------------

    /// Asks, and asks again under the same key until there is an answer that stays, like a careful client.
    pub(crate) async fn insist(&mut self, ask: Ask) -> Result<Value, &'static str> {
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        let mut answer = self.insist_as(&key, &ask).await;
        if let (Ask::Mint { .. }, Ok(made)) = (&ask, &mut answer) {
            // A repetition does not show the codes again.
            for voucher in made["items"].as_array_mut().unwrap() {
                let code = voucher.as_object_mut().unwrap().remove("code");
                self.codes.extend(code.map(|code| code.as_str().unwrap().to_owned()));
            }
        }
        self.tell(match &answer {
            Ok(_) => "  done".to_owned(),
            Err(code) => format!("  refused: {code}"),
        });
        self.answered.push((key, ask, answer.clone()));
        answer
    }

    pub(crate) async fn insist_as(&mut self, key: &str, ask: &Ask) -> Result<Value, &'static str> {
        for attempt in 0..PATIENCE {
            if attempt == STORM {
                self.weather(Weather::default());
            }
            let answer = ask.put(&self.foundation, self.app(), key).await;
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if let Some(replay) = error.replay {
                return Ok(serde_json::from_str(&replay.body).unwrap());
            }
            if self.fate.is_dead() {
                self.die().await;
                continue;
            }
            match error.kind {
                // A start asks the host for the container.
                Kind::Unavailable if attempt > STORM && self.may_be_away(ask) => return Err(error.code),
                Kind::Unavailable | Kind::Internal => {
                    assert!(attempt <= STORM, "in fine weather {ask:?} fails: {error:?}");
                    self.tell(format!("  again, because: {error:?}"));
                }
                _ => return Err(error.code),
            }
        }
        panic!("no answer to {ask:?}");
    }

    fn may_be_away(&self, ask: &Ask) -> bool {
        matches!(ask, Ask::Start { .. }) && self.engines.values().any(|engine| engine.is_unreachable())
    }

    /// The provider sends a message, and sends it again until it was taken.
    pub(crate) async fn deliver(&mut self, (signature, body): (String, Vec<u8>)) {
        let headers = BTreeMap::from([("fake-signature".to_owned(), signature)]);
        for attempt in 0..PATIENCE {
            if attempt == STORM {
                self.weather(Weather::default());
            }
            let op = self.app().op(Actor::Anonymous);
            let taken =
                self.app().provider_event(&op, "fake", Delivery { body: &body, headers: &headers }).await;
            let Err(error) = taken else { return };
            if self.fate.is_dead() {
                self.die().await;
                continue;
            }
            assert!(attempt <= STORM, "in fine weather a message is refused: {error:?}");
            self.tell(format!("  sent again, because: {error:?}"));
        }
        panic!("a message was never taken");
    }

    /// The place of a team.
    pub(crate) fn team_place(&self, team: TeamId) -> usize {
        self.foundation.teams.iter().position(|one| one.id == team).unwrap()
    }

    /// The places of a team and of its member.
    pub(crate) fn member_place(&self, team: TeamId, member: MemberId) -> (usize, usize) {
        let place = self.team_place(team);
        (place, self.team(place).members.iter().position(|(id, _)| *id == member).unwrap())
    }
}

fn manner(dice: &Dice) -> Manner {
    let interval = *dice.one_of(&[60, 600, 3_600]);
    let runway = interval * dice.between(2, 16);
    let terms = |dice: &Dice| {
        json!({
            "billing_starts": *dice.one_of(&["running", "running", "pull"]),
            "exhaustion": *dice.one_of(&["stop", "snapshot_stop", "continue"]),
            "time_zone": *dice.one_of(&ZONES),
        })
    };
    // The end of November by UTC; not on a full minute.
    let month_end = 1_764_547_200_000_000;
    let before = dice.between(0, 60) * interval * 1_000_000 + dice.between(0, 59_999_999);
    Manner {
        interval: Span::from_seconds(interval),
        runway: Span::from_seconds(runway),
        crooked: *dice.one_of(&[Crooked::Nobody, Crooked::Nobody, Crooked::Server, Crooked::Hosts]),
        terms: vec![terms(dice), terms(dice)],
        credit_limit: Credits::from_micros(dice.between(0, 1) * dice.between(1, 20_000_000)),
        wealth: *dice.one_of(&[1, 1, 2, 5]),
        start: Timestamp::from_micros(month_end - before),
    }
}
