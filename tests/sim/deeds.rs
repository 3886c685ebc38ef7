//! What people and providers do with money: credits, payments, vouchers, budgets, terms, corrections.

use muster::{
    ids::{BudgetId, SegmentId, TeamId, TopUpId},
    money::Credits,
    time::{Clock as _, HOUR, SECOND, Span, Timestamp},
};
use serde_json::{Value, json};

use crate::{
    asks::Ask,
    script::{Deed, one_of},
    world::{World, ZONES},
};

const TOP_UPS: &str = "SELECT id, team, provider, state FROM top_ups ORDER BY id";
const BUDGETS: &str = "SELECT id, team, version FROM budgets ORDER BY id";
const VERSIONS: &str = "
    SELECT t.version, COALESCE((SELECT a.version FROM auto_top_ups a WHERE a.team = t.id), 0)
    FROM teams t WHERE t.id = $1";
const OWED: &str = "
    SELECT team, debits_posted - credits_posted FROM accounts WHERE kind = 'receivable' ORDER BY 2 DESC LIMIT 1";
const CHARGED: &str =
    "SELECT segment, team, MIN(from_at), MAX(to_at) FROM charges GROUP BY 1, 2 ORDER BY 3, 1";

/// One of the deeds that move money or say how it may move.
pub(crate) async fn money(world: &mut World, deed: Deed) {
    let team = usize::from(world.dice.percent(40));
    let member = usize::from(world.dice.percent(40));
    let amount = an_amount(world, deed);
    world.tell(format!("  team {team} member {member}: {amount}"));
    match deed {
        Deed::Grant => {
            let length = world.manner.interval.as_micros() * world.dice.between(20, 200);
            let expires_at = world.clock.now() + Span::from_micros(length);
            let expires_at = world.dice.percent(25).then_some(expires_at);
            drop(world.insist(Ask::Grant { team, amount, expires_at }).await);
        }
        Deed::Goodwill => {
            let member = world.dice.percent(50).then_some(member);
            drop(world.insist(Ask::Goodwill { team, member, amount }).await);
        }
        Deed::TopUp => top_up(world, team, amount).await,
        Deed::Payback => payback(world).await,
        Deed::AutoTopUp => auto_top_up(world, team, amount).await,
        Deed::WriteOff => {
            let mut glance = world.db.glance().await.unwrap();
            let (team, owed): (TeamId, i64) = glance.query(OWED).one().await.unwrap();
            drop(glance);
            let team = world.team_place(team);
            let amount = Credits::from_micros((owed * world.dice.between(1, 2) / 2).max(1));
            drop(world.insist(Ask::WriteOff { team, amount }).await);
        }
        Deed::Voucher => voucher(world, team, amount).await,
        Deed::Assign => drop(world.insist(Ask::Assign { team, member, amount }).await),
        Deed::Reclaim => drop(world.insist(Ask::Reclaim { team, member, amount }).await),
        Deed::Budget => budget(world, team, member, amount).await,
        Deed::Terms => terms(world, team).await,
        Deed::CreditLimit => {
            let amount = if world.dice.percent(40) { Credits::ZERO } else { amount };
            drop(world.insist(Ask::CreditLimit { team, amount }).await);
        }
        Deed::StorageRate => {
            let kind = *world.dice.one_of(&["drive", "stopped"]);
            let price = Credits::from_micros(world.dice.between(0, 3) * world.dice.between(1, 400_000));
            drop(world.insist(Ask::StorageRate { kind, price }).await);
        }
        _ => correct(world).await,
    }
}

/// From a few seconds of an accelerator to some runways of it.
fn an_amount(world: &World, deed: Deed) -> Credits {
    let runway = world.manner.runway.as_micros() / SECOND * 6_543_217 / 3_600;
    let whole = if deed == Deed::Grant { 4 } else { 2 };
    let most = runway * *world.dice.one_of(&[1, 2, 2, 5]) * world.manner.wealth * whole / 2;
    Credits::from_micros(world.dice.between(most / 4, most.max(2)))
}

async fn top_up(world: &mut World, team: usize, amount: Credits) {
    let provider = *world.dice.one_of(&["manual", "fake"]);
    let Ok(asked) = world.insist(Ask::TopUp { team, amount, provider }).await else { return };
    if provider == "fake" || world.dice.percent(15) {
        return;
    }
    let top_up = asked["id"].as_str().unwrap().parse().unwrap();
    let confirm = world.dice.percent(75);
    let _ = world.insist(Ask::Decide { team, top_up, confirm }).await;
    if world.dice.percent(10) {
        let twice = world.insist(Ask::Decide { team, top_up, confirm: true }).await;
        assert_eq!(twice, Err("illegal-state"), "a top-up was decided twice");
    }
}

/// The operator decides about a top-up that waits, gives money back, or hears that it was taken back.
async fn payback(world: &mut World) {
    let top_ups = world.db.glance().await.unwrap().query(TOP_UPS).all().await.unwrap();
    let all: Vec<(TopUpId, TeamId, String, String)> = top_ups;
    let Some((top_up, team, provider, state)) = one_of(world, &all).cloned() else { return };
    let team = world.team_place(team);
    world.tell(format!("  {top_up} of {provider} is {state}"));
    let ask = match (provider.as_str(), state.as_str()) {
        ("manual", "pending") => Ask::Decide { team, top_up, confirm: world.dice.percent(75) },
        ("manual", _) if world.dice.percent(30) => Ask::Dispute { team, top_up },
        _ => Ask::Refund { team, top_up, amount: an_amount(world, Deed::Payback) },
    };
    drop(world.insist(ask).await);
}

async fn auto_top_up(world: &mut World, team: usize, amount: Credits) {
    let (_, version) = versions(world, team).await;
    let micros = amount.as_micros();
    let setting = json!({
        "active": world.dice.percent(85),
        "threshold": amount,
        "target": Credits::from_micros(micros * world.dice.between(2, 4)),
        "provider": *world.dice.one_of(&["fake", "fake", "manual"]),
        "day_cap": Credits::from_micros(micros * world.dice.between(1, 6)),
        "month_cap": Credits::from_micros(micros * world.dice.between(2, 9)),
        "min_gap_seconds": *world.dice.one_of(&[0, 60, 600]),
    });
    drop(world.insist(Ask::AutoTopUp { team, setting, version }).await);
}

async fn versions(world: &World, team: usize) -> (i64, i64) {
    let mut glance = world.db.glance().await.unwrap();
    glance.query(VERSIONS).bind(world.team(team).id).one().await.unwrap()
}

/// Vouchers are made, or somebody turns a code in, be it the first to do so or not.
async fn voucher(world: &mut World, team: usize, amount: Credits) {
    if world.codes.is_empty() || world.dice.percent(35) {
        let length = world.manner.interval.as_micros() * world.dice.between(5, 300);
        let ask = Ask::Mint {
            team: world.dice.percent(30).then_some(team),
            amount,
            count: u32::try_from(world.dice.between(1, 3)).unwrap(),
            uses: u32::try_from(world.dice.between(1, 2)).unwrap(),
            until: world.clock.now() + Span::from_micros(length),
            days: world.dice.percent(40).then_some(1),
        };
        drop(world.insist(ask).await);
    }
    if let Some(code) = one_of(world, &world.codes).cloned() {
        drop(world.insist(Ask::Redeem { team, code }).await);
    }
}

/// A budget is made, or changed, ended, and made to count again.
async fn budget(world: &mut World, team: usize, member: usize, amount: Credits) {
    let budgets = world.db.glance().await.unwrap().query(BUDGETS).all().await.unwrap();
    let budgets: Vec<(BudgetId, TeamId, i64)> = budgets;
    let reaction = *world.dice.one_of(&["alert", "deny", "drain", "drain"]);
    if budgets.is_empty() || world.dice.percent(60) {
        let actor = &world.team(team).keys[member];
        let (scope, subject) = match world.dice.below(4) {
            0 | 1 => ("team", None),
            2 => ("member", Some(world.team(team).members[member].0.to_string())),
            _ => ("api_key", Some(actor.name())),
        };
        let new = json!({
            "name": format!("budget {}", world.answered.len()), "scope": scope, "subject": subject,
            "period": *world.dice.one_of(&["once", "monthly", "monthly"]),
            "ceiling": Credits::from_micros(amount.as_micros() * world.dice.between(0, 4)),
            "reaction": reaction,
        });
        drop(world.insist(Ask::Budget { team, new }).await);
    } else if let Some(&(budget, team, version)) = one_of(world, &budgets) {
        let change = match world.dice.below(4) {
            0 => json!({ "active": world.dice.percent(50) }),
            1 => json!({ "reaction": reaction }),
            _ => json!({ "ceiling": Credits::from_micros(amount.as_micros() * world.dice.between(0, 6)) }),
        };
        let team = world.team_place(team);
        drop(world.insist(Ask::BudgetChange { team, budget, version, change }).await);
    }
}

async fn terms(world: &mut World, team: usize) {
    let (version, _) = versions(world, team).await;
    let terms = json!({
        "spending": *world.dice.one_of(&["wallet", "pool"]),
        "billing_starts": *world.dice.one_of(&["running", "pull"]),
        "exhaustion": *world.dice.one_of(&["stop", "continue"]),
        "time_zone": *world.dice.one_of(&ZONES),
    });
    world.tell(format!("  {terms}"));
    drop(world.insist(Ask::Terms { team, version, terms }).await);
}

/// The operator takes back what was charged for a span.
async fn correct(world: &mut World) {
    let charged = world.db.glance().await.unwrap().query(CHARGED).all().await.unwrap();
    let charged: Vec<(SegmentId, TeamId, Timestamp, Timestamp)> = charged;
    let Some(&(segment, team, from, to)) = one_of(world, &charged) else { return };
    let whole = (to - from).as_micros();
    let begin = from + Span::from_micros(world.dice.between(0, whole - 1));
    let end = begin + Span::from_micros(world.dice.between(1, whole.min(HOUR)));
    let team = world.team_place(team);
    drop(world.insist(Ask::Correct { team, segment, from: begin, to: end }).await);
}

/// The provider goes on: money arrives or does not, goes back by itself, is taken back; and messages are on their way.
pub(crate) async fn provider(world: &mut World) {
    for _ in 0..world.dice.between(1, 3) {
        world.provider.live();
    }
    for _ in 0..world.dice.between(0, 3) {
        if let Some(message) = world.provider.next_message(false) {
            world.tell(format!("  {}", String::from_utf8_lossy(&message.1)));
            world.deliver(message).await;
        }
    }
}

/// How often each wish got which answer.
pub(crate) fn answers(world: &World) -> Vec<(String, i64)> {
    let told = |(_, ask, answer): &(String, Ask, Result<Value, &'static str>)| match answer {
        Ok(_) => (format!("asked: {}", ask.name()), 1),
        Err(code) => (format!("asked: {} and refused: {code}", ask.name()), 1),
    };
    world.answered.iter().map(told).collect()
}
