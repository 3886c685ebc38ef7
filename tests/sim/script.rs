//! The script of a run: what people, hosts, clocks and the power supply do, by chance.

use muster::{
    ids::{HostId, InstanceId},
    money::Credits,
    op::SystemActor,
    time::{Clock as _, SECOND, Span, TimeZone},
};

use crate::{
    asks::{Ask, By},
    bills, checks, deeds,
    fate::Weather,
    world::{Crooked, World, ZONES},
};

/// Steps of a run.
const STEPS: (i64, i64) = (15, 45);
/// Of what does not belong to every run, so much in a hundred does to each: few things at a time, and those often.
const SHARE: u64 = 40;
/// Rounds after which everything must be settled.
const ROUNDS: u32 = 60;

/// What can happen, and how often it does among the others.
const DEEDS: [(Deed, u64); 48] = [
    (Deed::Grant, 3),
    (Deed::Goodwill, 1),
    (Deed::TopUp, 4),
    (Deed::Payback, 3),
    (Deed::AutoTopUp, 2),
    (Deed::WriteOff, 1),
    (Deed::Voucher, 3),
    (Deed::Assign, 7),
    (Deed::Reclaim, 3),
    (Deed::Budget, 6),
    (Deed::Terms, 2),
    (Deed::CreditLimit, 1),
    (Deed::StorageRate, 1),
    (Deed::Correct, 2),
    (Deed::Provider, 8),
    (Deed::Launch, 18),
    (Deed::Stop, 4),
    (Deed::Start, 5),
    (Deed::Release, 4),
    (Deed::Again, 3),
    (Deed::Visit, 9),
    (Deed::Meter, 6),
    (Deed::Minute, 16),
    (Deed::Shift, 5),
    (Deed::Count, 4),
    (Deed::Rounds, 6),
    (Deed::Seconds, 6),
    (Deed::Intervals, 4),
    (Deed::Hours, 2),
    (Deed::Days, 1),
    (Deed::MonthTurn, 2),
    (Deed::ClockBack, 1),
    (Deed::ClockForth, 1),
    (Deed::ClockRight, 1),
    (Deed::HostClock, 2),
    (Deed::HostAway, 2),
    (Deed::HostBack, 3),
    (Deed::Restart, 1),
    (Deed::Exit, 2),
    (Deed::Taken, 1),
    (Deed::Images, 1),
    (Deed::Refusing, 1),
    (Deed::Slow, 1),
    (Deed::Write, 2),
    (Deed::DiskFull, 1),
    (Deed::Doom, 6),
    (Deed::Storm, 3),
    (Deed::Death, 1),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The operator gives credits.
    Grant,
    Goodwill,
    /// A team pays: by hand, so that the operator confirms or refuses, or by the provider.
    TopUp,
    /// A payment goes back, or is taken back.
    Payback,
    /// A team's pool is filled up by itself from now on, or otherwise.
    AutoTopUp,
    /// The operator gives up what a team owes.
    WriteOff,
    /// Vouchers are made, or redeemed.
    Voucher,
    /// A member is given credits, or gives them back.
    Assign,
    Reclaim,
    /// A budget is made or changed.
    Budget,
    /// The terms of a team change: whose money it spends, its time zone, what happens when credits run out.
    Terms,
    CreditLimit,
    /// Storage costs something else.
    StorageRate,
    /// The operator takes back a part of what was charged.
    Correct,
    /// The payment provider goes on with its payments and sends messages about them.
    Provider,
    Launch,
    Stop,
    Start,
    Release,
    /// An earlier request comes again.
    Again,
    /// The server looks at a host.
    Visit,
    Meter,
    /// The usual rhythm: look, let an interval pass, look, meter.
    Minute,
    /// The same for longer.
    Shift,
    /// What hosts store is counted.
    Count,
    /// The other loops: credits expire, months are closed, books are chained, parked charges rated.
    Rounds,
    /// Time passes, less or more.
    Seconds,
    Intervals,
    Hours,
    Days,
    /// A month ends somewhere.
    MonthTurn,
    /// The server's clock is set back, jumps ahead, or is right again.
    ClockBack,
    ClockForth,
    ClockRight,
    /// A host's clock is off.
    HostClock,
    HostAway,
    HostBack,
    /// A host lost its power.
    Restart,
    /// A container ends by itself.
    Exit,
    /// Somebody else removes a container.
    Taken,
    /// Images can be had or not.
    Images,
    /// A host makes containers or does not.
    Refusing,
    /// A host is slow or not.
    Slow,
    /// What is stored on a host grows or shrinks.
    Write,
    /// Nothing can be stored for a while.
    DiskFull,
    /// The server will die in the middle of something soon.
    Doom,
    /// Things begin to go wrong, or cease to.
    Storm,
    /// The server dies now.
    Death,
}

/// Plays one run to its end.
pub(crate) async fn play(world: &mut World) {
    begin(world).await;
    let steps = world.dice.between(STEPS.0, STEPS.1);
    let deeds: Vec<_> =
        DEEDS.into_iter().filter(|(deed, _)| deed.is_usual() || world.dice.percent(SHARE)).collect();
    for step in 0..steps {
        let deed = choose(world, &deeds);
        world.steps += 1;
        world.tell(format!("{step} {deed:?}"));
        act(world, deed).await;
        if world.fate.is_dead() {
            world.die().await;
        }
        checks::after_step(world).await;
    }
    settle(world).await;
    bills::at_the_end(world).await;
}

/// Most teams have some money from the start, and most of it is with their members.
async fn begin(world: &mut World) {
    for deed in [Deed::Grant, Deed::Grant, Deed::Grant, Deed::Assign, Deed::Assign] {
        deeds::money(world, deed).await;
    }
}

fn choose(world: &World, deeds: &[(Deed, u64)]) -> Deed {
    let all: u64 = deeds.iter().map(|(_, weight)| weight).sum();
    let mut roll = world.dice.below(all);
    for &(deed, weight) in deeds {
        if roll < weight {
            return deed;
        }
        roll -= weight;
    }
    Deed::Minute
}

async fn act(world: &mut World, deed: Deed) {
    match deed {
        Deed::Launch => launch(world).await,
        Deed::Stop | Deed::Start | Deed::Release => wish(world, deed).await,
        Deed::Provider => deeds::provider(world).await,
        Deed::Again => again(world).await,
        Deed::Visit => {
            let host = a_host(world);
            for _ in 0..world.dice.between(1, 3) {
                visit(world, host).await;
            }
        }
        Deed::Meter => meter(world).await,
        Deed::Minute => minute(world).await,
        Deed::Shift => {
            for _ in 0..world.dice.between(3, 8) {
                minute(world).await;
            }
        }
        Deed::Count => count(world).await,
        Deed::Rounds => rounds(world).await,
        Deed::Seconds | Deed::Intervals | Deed::Hours | Deed::Days => time(world, deed),
        Deed::MonthTurn => month_turn(world),
        Deed::Doom => world.fate.doom(world.dice.below(40)),
        Deed::Death => world.die().await,
        Deed::Storm => {
            let weather = match world.dice.percent(50) {
                true => Weather::default(),
                false => Weather {
                    full: false,
                    refused: world.dice.below(25),
                    unheard: world.dice.below(15),
                    lost: world.dice.below(15),
                    unanswered: world.dice.below(15),
                },
            };
            world.tell(format!("  {weather:?}"));
            world.weather(weather);
        }
        Deed::DiskFull => world.weather(Weather { full: !world.weather.full, ..world.weather }),
        Deed::HostClock => host_clock(world).await,
        _ if Deed::MISHAPS.contains(&deed) => mishap(world, deed),
        _ => deeds::money(world, deed).await,
    }
}

impl Deed {
    /// Whether it belongs to every run.
    const fn is_usual(self) -> bool {
        use Deed::{Assign, Grant, HostBack, Launch, Meter, Minute, Provider, Rounds, Start, Stop, Visit};
        let work = matches!(self, Launch | Start | Stop | Visit | Meter | Minute | HostBack);
        work || matches!(self, Grant | Assign | Rounds | Provider)
    }

    /// What happens to hosts and clocks.
    const MISHAPS: [Self; 12] = [
        Self::HostAway,
        Self::HostBack,
        Self::Images,
        Self::Refusing,
        Self::Slow,
        Self::Write,
        Self::Restart,
        Self::Exit,
        Self::Taken,
        Self::ClockBack,
        Self::ClockForth,
        Self::ClockRight,
    ];
}

/// A host comes up with a clock that is off; what starts there is told by that clock.
async fn host_clock(world: &mut World) {
    let host = a_host(world);
    let engine = world.engines[&host].clone();
    let interval = world.manner.interval.as_micros();
    let skew = world.dice.between(-interval * 2, interval * 2);
    if world.manner.crooked == Crooked::Hosts && engine.names().is_empty() && !engine.is_unreachable() {
        world.tell(format!("  {} s", skew / 1_000_000));
        engine.skew(Span::from_micros(skew));
        world.probe(host).await;
    }
}

/// One of the members, by session or by API key.
fn somebody(world: &World) -> By {
    By { member: usize::from(world.dice.percent(40)), key: world.dice.percent(30) }
}

async fn launch(world: &mut World) {
    let team = usize::from(world.dice.percent(40));
    let by = somebody(world);
    let product = *world.dice.one_of(&["gpu", "gpu", "gpu", "gpu", "cpu", "cpu", "cpu", "free"]);
    let units = *world.dice.one_of(&[1, 1, 1, 2, 3]);
    let drives = (world.dice.percent(15), world.dice.percent(25));
    let name = format!("n{}", world.answered.len());
    world.tell(format!("  {name}: team {team} {by:?}: {units} {product}, drives {drives:?}"));
    if let Ok(made) = world.insist(Ask::Launch { team, by, name, product, units, drives }).await {
        world.tell(format!("  {} on {}", made["id"], made["host"]));
        checks::within_budgets(world, made["id"].as_str().unwrap()).await;
    }
}

/// An instance is stopped, started again, or given up.
async fn wish(world: &mut World, deed: Deed) {
    let live = live(world).await;
    // Mostly what can be done.
    let stopped: Vec<_> = live.iter().filter(|one| one.stopped).cloned().collect();
    let choices = if deed == Deed::Start && !world.dice.percent(10) { &stopped } else { &live };
    let Some(Live { team, member, instance, .. }) = one_of(world, choices).cloned() else { return };
    let by = By { member, ..somebody(world) };
    world.tell(format!("  {instance} {by:?}"));
    let ask = match deed {
        Deed::Stop => Ask::Stop { team, by, instance },
        Deed::Start => Ask::Start { team, by, instance },
        _ => Ask::Release { team, by, instance },
    };
    if world.insist(ask).await.is_ok() && deed == Deed::Start {
        checks::within_budgets(world, &instance.to_string()).await;
    }
}

/// A client repeats what it asked long ago; the answer is the one that it got.
async fn again(world: &mut World) {
    let done: Vec<_> = world.answered.iter().filter(|(_, _, answer)| answer.is_ok()).cloned().collect();
    if let Some((key, ask, answer)) = one_of(world, &done).cloned() {
        world.tell(format!("  {key} {ask:?}"));
        assert_eq!(world.insist_as(&key, &ask).await, answer, "{key} got another answer");
    }
}

pub(crate) async fn visit(world: &mut World, host: HostId) {
    let outcome = world.app().reconcile(&world.system(SystemActor::Reconciler), host).await;
    failed(world, "a look at a host", outcome.err());
    // Images are fetched beside the loops.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn meter(world: &mut World) {
    let outcome = world.app().meter(&world.system(SystemActor::Meter)).await;
    failed(world, "a pass of the meter", outcome.err());
}

async fn count(world: &World) {
    for &host in world.engines.keys() {
        if let Err(error) = world.app().storage_pass(&world.system(SystemActor::Meter), host).await {
            // A host that is away is not counted.
            world.tell(format!("  a count failed: {error:?}"));
        }
    }
}

pub(crate) async fn rounds(world: &mut World) {
    let app = world.app();
    app.cashier(&world.system(SystemActor::Cashier)).await;
    let outcomes = [
        ("rating anew", app.rate_parked(&world.system(SystemActor::Rater)).await.err()),
        ("closing months", app.months_close(&world.system(SystemActor::Closer)).await.err()),
        ("chaining the books", app.books_link(&world.system(SystemActor::Bookkeeper)).await.err()),
    ];
    for (what, error) in outcomes {
        failed(world, what, error);
    }
}

fn failed(world: &World, what: &str, error: Option<muster::error::Error>) {
    let Some(error) = error else { return };
    world.tell(format!("  {what} failed: {error:?}"));
    let excused = world.fate.is_dead() || world.weather != Weather::default();
    assert!(excused, "in fine weather {what} failed: {error:?}");
}

async fn minute(world: &mut World) {
    let hosts: Vec<HostId> = world.engines.keys().copied().collect();
    for &host in &hosts {
        visit(world, host).await;
    }
    world.pass(world.manner.interval);
    for &host in &hosts {
        visit(world, host).await;
    }
    count(world).await;
    meter(world).await;
}

fn time(world: &World, deed: Deed) {
    let interval = world.manner.interval.as_micros();
    let span = match deed {
        Deed::Seconds => world.dice.between(1, interval),
        Deed::Intervals => interval * world.dice.between(1, 6) + world.dice.between(0, 999_999),
        Deed::Hours => interval * world.dice.between(6, 60),
        _ => interval * world.dice.between(60, 200),
    };
    world.tell(format!("  {} s", span / 1_000_000));
    world.pass(Span::from_micros(span));
}

/// The time of the next end of a month in some zone, or shortly before; where that is not too far.
fn month_turn(world: &World) {
    let zone: TimeZone = world.dice.one_of(&ZONES).parse().unwrap();
    let now = world.truth.now();
    let end = zone.month_at(now).end_at;
    let interval = world.manner.interval.as_micros();
    let span = (end - now).as_micros() + interval * world.dice.between(-2, 1);
    if span > 0 && span < interval * 800 {
        world.tell(format!("  in {zone:?}, {} s", span / 1_000_000));
        world.pass(Span::from_micros(span));
    }
}

fn mishap(world: &mut World, deed: Deed) {
    let host = a_host(world);
    let engine = world.engines[&host].clone();
    let flag = world.dice.percent(40);
    let interval = world.manner.interval.as_micros();
    let running = engine.running();
    let container = one_of(world, &running).cloned();
    match deed {
        Deed::HostAway => engine.unreachable(true),
        Deed::HostBack => world.engines.values().for_each(|engine| engine.unreachable(false)),
        Deed::Images => engine.lacks_images(flag),
        Deed::Refusing => engine.refuses(flag),
        Deed::Slow => engine.slow(flag),
        Deed::Write => engine.write(u64::try_from(world.dice.between(1, 3_000)).unwrap() << 18),
        Deed::Restart => engine.restart(Span::from_micros(world.dice.between(0, interval * 3)), &world.runs),
        Deed::Exit => {
            let code = *world.dice.one_of(&[0, 1, 137]);
            world.tell(format!("  {container:?} with {code}"));
            container.into_iter().for_each(|name| engine.exit(&name, code, &world.runs));
        }
        Deed::Taken => {
            world.tell(format!("  {container:?}"));
            container.into_iter().for_each(|name| engine.take(&name, &world.runs));
        }
        Deed::ClockBack if world.manner.crooked == Crooked::Server => {
            let back = world.dice.between(1, interval * 2);
            world.tell(format!("  by {} s", back / 1_000_000));
            world.clock.advance(Span::from_micros(-back));
        }
        Deed::ClockForth if world.manner.crooked == Crooked::Server => {
            let forth = world.dice.between(1, interval * 100);
            world.tell(format!("  by {} s", forth / 1_000_000));
            world.clock_forth(Span::from_micros(forth));
        }
        Deed::ClockRight => world.clock_right(),
        _ => {}
    }
}

fn a_host(world: &World) -> HostId {
    let hosts: Vec<HostId> = world.engines.keys().copied().collect();
    *world.dice.one_of(&hosts)
}

pub(crate) fn one_of<'a, T>(world: &World, choices: &'a [T]) -> Option<&'a T> {
    if choices.is_empty() { None } else { Some(world.dice.one_of(choices)) }
}

/// An instance that is not over, with the places of its team and member.
#[derive(Clone)]
struct Live {
    team: usize,
    member: usize,
    instance: InstanceId,
    stopped: bool,
}

/// Instances that are not over, by their launch.
async fn live(world: &World) -> Vec<Live> {
    let rows = checks::instances(world).await;
    let live = rows.into_iter().filter(|row| !row.is_over());
    live.map(|row| {
        let (team, member) = world.member_place(row.team, row.member);
        Live { team, member, instance: row.id, stopped: row.is_stopped() }
    })
    .collect()
}

/// All faults cease, everybody releases what they have, and the server and the provider are given time.
async fn settle(world: &mut World) {
    world.tell("everything is settled".to_owned());
    world.weather(Weather::default());
    world.die().await;
    for engine in world.engines.values() {
        engine.unreachable(false);
        engine.lacks_images(false);
        engine.refuses(false);
        engine.slow(false);
    }
    for Live { team, member, instance, .. } in live(world).await {
        let by = By { member, key: false };
        let answer = world.insist(Ask::Release { team, by, instance }).await;
        assert!(
            answer.is_ok() || answer == Err("illegal-state"),
            "{instance} cannot be released: {answer:?}"
        );
    }
    for round in 0.. {
        minute(world).await;
        let left = checks::unsettled(world).await;
        if left.is_empty() {
            break;
        }
        assert!(round < ROUNDS, "never settled: {left:?}");
    }
    world.clock_right();
    // What is still stored costs nothing from the next count on, so that months can be closed.
    for kind in ["drive", "stopped"] {
        world.insist(Ask::StorageRate { kind, price: Credits::ZERO }).await.unwrap();
    }
    for round in 0.. {
        world.pass(Span::from_micros(world.manner.interval.as_micros() * 10 + 60 * SECOND));
        minute(world).await;
        if checks::stored(world).await == 0 {
            break;
        }
        assert!(round < ROUNDS, "storage without a rate is metered");
    }
    for _ in 0..2 {
        rounds(world).await;
        world.provider.live();
        world.pass(Span::from_seconds(30));
    }
    world.provider.calm();
    while let Some(message) = world.provider.next_message(false) {
        world.deliver(message).await;
    }
    // Two months later every month of the run is over, and whatever waited has been asked after.
    world.pass(Span::from_seconds(62 * 86_400));
    later(world).await;
    // What is corrected now is on the next statement, with a credit note; what comes in now pays what is owed.
    for _ in 0..world.dice.between(0, 3) {
        let deed =
            *world.dice.one_of(&[Deed::Correct, Deed::Correct, Deed::WriteOff, Deed::Voucher, Deed::Payback]);
        deeds::money(world, deed).await;
    }
    world.pass(Span::from_seconds(40 * 86_400));
    later(world).await;
}

/// The loops go round until nothing waits any more.
async fn later(world: &mut World) {
    for _ in 0..2 {
        meter(world).await;
        rounds(world).await;
        world.pass(Span::from_seconds(3_600));
    }
}
