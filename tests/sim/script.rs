//! The script of a run: what people, hosts, clocks and the power supply do, by chance.

use muster::{
    ids::{HostId, InstanceId},
    money::Credits,
    op::SystemActor,
    time::{Clock as _, Span},
};

use crate::{
    checks,
    fate::Weather,
    world::{Ask, Crooked, World},
};

/// Steps of a run.
const STEPS: (i64, i64) = (15, 45);
/// Rounds after which everything must be settled.
const ROUNDS: u32 = 60;

/// What can happen, and how often it does among the others.
const DEEDS: [(Deed, u64); 29] = [
    (Deed::Grant, 3),
    (Deed::TopUp, 3),
    (Deed::Assign, 7),
    (Deed::Reclaim, 3),
    (Deed::Launch, 16),
    (Deed::Release, 6),
    (Deed::Again, 3),
    (Deed::Visit, 9),
    (Deed::Meter, 6),
    (Deed::Minute, 16),
    (Deed::Rounds, 3),
    (Deed::Seconds, 6),
    (Deed::Intervals, 4),
    (Deed::Hours, 2),
    (Deed::Days, 1),
    (Deed::ClockBack, 1),
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
    (Deed::Doom, 6),
    (Deed::Storm, 3),
    (Deed::Death, 1),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// The operator gives credits.
    Grant,
    /// A team pays, the operator confirms or refuses.
    TopUp,
    /// A member is given credits, or gives them back.
    Assign,
    Reclaim,
    Launch,
    Release,
    /// An earlier request comes again.
    Again,
    /// The server looks at a host.
    Visit,
    Meter,
    /// The usual rhythm: look, let an interval pass, look, meter.
    Minute,
    /// The other loops: credits expire, months are closed, books are chained, parked charges rated.
    Rounds,
    /// Time passes, less or more.
    Seconds,
    Intervals,
    Hours,
    Days,
    /// The server's clock is set back, or is right again.
    ClockBack,
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
    for step in 0..steps {
        let deed = choose(world);
        world.steps += 1;
        world.tell(format!("{step} {deed:?}"));
        act(world, deed).await;
        if world.fate.is_dead() {
            world.die().await;
        }
        checks::after_step(world).await;
    }
    settle(world).await;
    checks::at_the_end(world).await;
}

/// Most teams have some money from the start, and most of it is with their members.
async fn begin(world: &mut World) {
    for deed in [Deed::Grant, Deed::Grant, Deed::Grant, Deed::Assign, Deed::Assign] {
        money(world, deed).await;
    }
}

fn choose(world: &World) -> Deed {
    let all: u64 = DEEDS.iter().map(|(_, weight)| weight).sum();
    let mut roll = world.dice.below(all);
    for (deed, weight) in DEEDS {
        if roll < weight {
            return deed;
        }
        roll -= weight;
    }
    Deed::Minute
}

async fn act(world: &mut World, deed: Deed) {
    match deed {
        Deed::Grant | Deed::TopUp | Deed::Assign | Deed::Reclaim => money(world, deed).await,
        Deed::Launch => launch(world).await,
        Deed::Release => {
            if let Some(&(team, member, instance)) = one_of(world, &live(world).await) {
                world.tell(format!("  {instance}"));
                let _ = world.insist(Ask::Release { team, member, instance }).await;
            }
        }
        Deed::Again => again(world).await,
        Deed::Visit => {
            let host = a_host(world);
            for _ in 0..world.dice.between(1, 3) {
                visit(world, host).await;
            }
        }
        Deed::Meter => meter(world).await,
        Deed::Minute => minute(world).await,
        Deed::Rounds => rounds(world).await,
        Deed::Seconds | Deed::Intervals | Deed::Hours | Deed::Days => time(world, deed),
        Deed::Doom => world.fate.doom(world.dice.below(40)),
        Deed::Death => world.die().await,
        Deed::Storm => {
            let weather = match world.dice.percent(50) {
                true => Weather::default(),
                false => Weather {
                    refused: world.dice.below(25),
                    unheard: world.dice.below(15),
                    lost: world.dice.below(15),
                    unanswered: world.dice.below(15),
                },
            };
            world.tell(format!("  {weather:?}"));
            world.weather(weather);
        }
        Deed::HostClock => host_clock(world).await,
        _ => mishap(world, deed),
    }
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

async fn money(world: &mut World, deed: Deed) {
    let team = usize::from(world.dice.percent(40));
    let member = usize::from(world.dice.percent(40));
    // From a few seconds of an accelerator to some runways of it.
    let runway = world.manner.runway.as_micros() / 1_000_000 * 6_543_217 / 3_600;
    let whole = if deed == Deed::Grant { 4 } else { 2 };
    let most = runway * *world.dice.one_of(&[1, 2, 2, 5]) * whole / 2;
    let amount = Credits::from_micros(world.dice.between(most / 4, most.max(2)));
    world.tell(format!("  team {team} member {member}: {amount}"));
    match deed {
        Deed::Grant => {
            let length = world.manner.interval.as_micros() * world.dice.between(20, 200);
            let expires_at = world.clock.now() + Span::from_micros(length);
            let expires_at = world.dice.percent(25).then_some(expires_at);
            drop(world.insist(Ask::Grant { team, amount, expires_at }).await);
        }
        Deed::TopUp => {
            if let Ok(asked) = world.insist(Ask::TopUp { team, amount }).await {
                let top_up = asked["id"].as_str().unwrap().parse().unwrap();
                let confirm = world.dice.percent(75);
                let _ = world.insist(Ask::Decide { team, top_up, confirm }).await;
                if world.dice.percent(10) {
                    let twice = world.insist(Ask::Decide { team, top_up, confirm: true }).await;
                    assert_eq!(twice, Err("illegal-state"), "a top-up was decided twice");
                }
            }
        }
        Deed::Assign => drop(world.insist(Ask::Assign { team: 0, member, amount }).await),
        _ => drop(world.insist(Ask::Reclaim { team: 0, member, amount }).await),
    }
}

async fn launch(world: &mut World) {
    let team = usize::from(world.dice.percent(40));
    let member = usize::from(world.dice.percent(40));
    let product = *world.dice.one_of(&["gpu", "gpu", "gpu", "gpu", "cpu", "cpu", "cpu", "free"]);
    let units = *world.dice.one_of(&[1, 1, 1, 2, 3]);
    let name = format!("n{}", world.answered.len());
    world.tell(format!("  {name}: team {team} member {member}: {units} {product}"));
    if let Ok(made) = world.insist(Ask::Launch { team, member, name, product, units }).await {
        world.tell(format!("  {} on {}", made["id"], made["host"]));
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

async fn rounds(world: &mut World) {
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

fn mishap(world: &World, deed: Deed) {
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
        Deed::ClockRight => world.clock_right(),
        _ => {}
    }
}

fn a_host(world: &World) -> HostId {
    let hosts: Vec<HostId> = world.engines.keys().copied().collect();
    *world.dice.one_of(&hosts)
}

fn one_of<'a, T>(world: &World, choices: &'a [T]) -> Option<&'a T> {
    if choices.is_empty() { None } else { Some(world.dice.one_of(choices)) }
}

/// Instances that are not over, by their launch, with the places of their team and member.
async fn live(world: &World) -> Vec<(usize, usize, InstanceId)> {
    let rows = checks::instances(world).await;
    let live = rows.into_iter().filter(|row| !row.is_over());
    live.map(|row| (row, world))
        .map(|(row, world)| {
            let (team, member) = world.member_place(row.team, row.member);
            (team, member, row.id)
        })
        .collect()
}

/// All faults cease, everybody releases what they have, and the server is given time.
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
    for (team, member, instance) in live(world).await {
        let answer = world.insist(Ask::Release { team, member, instance }).await;
        assert!(
            answer.is_ok() || answer == Err("illegal-state"),
            "{instance} cannot be released: {answer:?}"
        );
    }
    for _ in 0..ROUNDS {
        minute(world).await;
        let left = checks::unsettled(world).await;
        if left.is_empty() {
            return;
        }
    }
    panic!("never settled: {:?}", checks::unsettled(world).await);
}
