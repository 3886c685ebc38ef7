//! The matrix of 39 nouns and five roles over HTTP, with the tokens of people who signed in.
//!
//! All of it is asked at `authorize`, where also nouns have an answer that no route is about yet: by each role with
//! its own token, and by the owner about each member. What has routes is asked there too, with the very requests that
//! people send. The answers come from `matrix.csv` and are never worked out here.

use muster::model::{action::Verb, team::Role};
use serde_json::{Value, json};

use crate::{
    matrix::{Cell, cells},
    support::{Answer, Caller, Database, TeamHandle, TestApp},
};

const ROLES: [Role; 5] = [Role::Owner, Role::Admin, Role::Developer, Role::Basic, Role::Billing];

/// Somebody of the team.
struct Person {
    role: Role,
    id: String,
    caller: Caller,
}

/// A team with one member of each role, and another team.
struct Scene {
    app: TestApp,
    team: TeamHandle,
    people: Vec<Person>,
    /// Somebody of the other team, whose slug is `theirs`.
    stranger: String,
}

impl Scene {
    async fn open(database: Database) -> Self {
        let app = TestApp::start(database).await;
        let team = app.team_of("ours", "novita").await;
        let mut people = Vec::new();
        for role in ROLES {
            let (id, caller) = match role {
                Role::Owner => (own_id(&team).await, team.owner.clone()),
                role => app.member(&team, role.word(), role.word()).await,
            };
            people.push(Person { role, id, caller });
        }
        let theirs = app.team_of("theirs", "novita").await;
        let (stranger, _) = app.member(&theirs, "somebody", "developer").await;
        Self { app, team, people, stranger }
    }

    fn person(&self, role: Role) -> &Person {
        self.people.iter().find(|person| person.role == role).unwrap()
    }

    /// Somebody else of the team.
    fn colleague(&self, role: Role) -> &Person {
        self.people.iter().rev().find(|person| person.role != role).unwrap()
    }
}

async fn own_id(team: &TeamHandle) -> String {
    let members = team.owner.get(&format!("/teams/{}/members", team.slug)).await.expect(200);
    let mut members = members.body["items"].as_array().unwrap().iter();
    let owner = members.find(|member| member["role"] == "owner").unwrap();
    owner["id"].as_str().unwrap().to_owned()
}

/// A question with the answer that the matrix has.
struct Asked {
    question: Value,
    expected: bool,
}

/// What the matrix says of this role: both verbs, of one's own, of a colleague's and of the whole team's.
fn asked(scene: &Scene, cells: &[Cell], role: Role, member: Option<&str>) -> Vec<Asked> {
    let (own, other) = (&scene.person(role).id, &scene.colleague(role).id);
    let mut asked = Vec::new();
    for cell in cells.iter().filter(|cell| cell.role == role) {
        for verb in [Verb::View, Verb::Write] {
            for (owner, is_own) in [(own, true), (other, false)] {
                let word = if verb == Verb::View { "view" } else { "write" };
                let mut question = json!({ "action": format!("{}:{word}", cell.kind), "owner": owner });
                if let Some(member) = member {
                    question["member"] = json!(member);
                }
                asked.push(Asked { question, expected: cell.says(verb, is_own) });
            }
        }
    }
    assert_eq!(asked.len(), 39 * 2 * 2);
    asked
}

async fn all_answered(caller: &Caller, who: &str, asked: &[Asked]) {
    let questions: Vec<&Value> = asked.iter().map(|asked| &asked.question).collect();
    let answers = caller.post("/teams/ours/authorize", json!({ "questions": questions })).await.expect(200);
    let answers = answers.body["answers"].as_array().unwrap().clone();
    assert_eq!(answers.len(), asked.len());
    for (Asked { question, expected }, answer) in asked.iter().zip(&answers) {
        let word = if *expected { "allow" } else { "deny" };
        assert_eq!(answer["decision"], word, "{who}: {question} {answer:#}");
        assert_eq!(answer["denials"].as_array().unwrap().is_empty(), *expected, "{who}: {answer:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_is_answered_as_written_and_another_team_is_not_there() {
    let cells = cells();
    for database in Database::BOTH {
        let scene = Scene::open(database).await;
        let (mut here, mut there) = (0, 0);
        for person in &scene.people {
            let asked_here = asked(&scene, &cells, person.role, None);
            all_answered(&person.caller, person.role.word(), &asked_here).await;
            let about = asked(&scene, &cells, person.role, Some(&person.id));
            all_answered(&scene.team.owner, &format!("owner of {}", person.role), &about).await;
            here += asked_here.len();
            for Asked { question, .. } in &asked_here {
                // The very question in the other team, and here about what belongs to somebody there.
                let questions = json!({ "questions": [question] });
                let unknown = person.caller.post("/teams/theirs/authorize", questions.clone()).await;
                let nowhere = person.caller.post("/teams/nowhere/authorize", questions).await;
                let unknown = unknown.problem(404, "not-found");
                assert_eq!(
                    unknown.text("detail"),
                    nowhere.problem(404, "not-found").text("detail"),
                    "a hint"
                );
                there += 1;
            }
            let mut foreign = asked_here[0].question.clone();
            foreign["owner"] = json!(scene.stranger);
            let foreign = json!({ "questions": [foreign] });
            person.caller.post("/teams/ours/authorize", foreign).await.problem(404, "not-found");
        }
        assert_eq!(here + there, 39 * 5 * 2 * 2 * 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_a_group_is_about_a_noun_of_the_team() {
    let scene = Scene::open(Database::Sqlite).await;
    let ask = async |question: Value| {
        scene.team.owner.post("/teams/ours/authorize", json!({ "questions": [question] })).await
    };
    for action in ["host:view", "door:use", "instance:fly", "instance", ":view", "dragon:write"] {
        ask(json!({ "action": action })).await.problem(422, "invalid-input");
    }
    ask(json!({ "action": "instance:write", "product": "gpu" })).await.problem(422, "invalid-input");
    assert_eq!(ask(json!({ "action": "run:use" })).await.expect(200).body["answers"][0]["decision"], "allow");
}

/// Machines to launch, money, vouchers, and one instance and one key of everybody who may have them.
struct Stock {
    vouchers: Vec<String>,
    instances: Vec<(Role, String)>,
    keys: Vec<(Role, String)>,
}

const WITH_MACHINES: [Role; 4] = [Role::Owner, Role::Admin, Role::Developer, Role::Basic];

impl Stock {
    async fn fill(scene: &Scene) -> Self {
        let operator = scene.app.operator().await;
        let host = json!({ "name": "one", "endpoint": "simulated:", "region": "here" });
        operator.post("/hosts", host).await.expect(201);
        let product = json!({ "name": "cpu", "region": "here", "instance_type": "cpu", "accelerator": "none",
            "gpus_per_unit": 0, "cpu_millis": 10, "memory_bytes": 1 << 24, "price_per_hour": "1",
            "published": true });
        operator.post("/products", product).await.expect(201);
        operator
            .post("/images", json!({ "name": "base", "reference": "base:1", "published": true }))
            .await
            .expect(201);
        scene.app.fund(&scene.team, "1000").await;
        let mut stock = Self { vouchers: Vec::new(), instances: Vec::new(), keys: Vec::new() };
        let wish = json!({ "amount": "1", "count": 5, "valid_until": "2026-01-01T00:00:00Z" });
        let made = operator.post("/vouchers", wish).await.expect(201);
        for voucher in made.body["items"].as_array().unwrap() {
            stock.vouchers.push(voucher["code"].as_str().unwrap().to_owned());
        }
        for role in WITH_MACHINES {
            let caller = &scene.person(role).caller;
            let wish =
                json!({ "name": role.word(), "product": "cpu", "image": "base", "mount_team_drive": false });
            let made = caller.post("/teams/ours/instances", wish).await.expect(201);
            stock.instances.push((role, made.text("id").to_owned()));
            let made = caller.post("/teams/ours/api-keys", json!({ "name": "robot" })).await.expect(201);
            stock.keys.push((role, made.text("id").to_owned()));
        }
        stock
    }

    fn of(list: &[(Role, String)], role: Role) -> &str {
        &list.iter().find(|(owner, _)| *owner == role).unwrap().1
    }

    /// Something of the role's own, or of somebody else's.
    fn one(list: &[(Role, String)], role: Role, own: bool) -> Option<&str> {
        match own {
            true => list.iter().find(|(owner, _)| *owner == role).map(|(_, id)| id.as_str()),
            false => Some(Self::of(list, if role == Role::Admin { Role::Developer } else { Role::Admin })),
        }
    }
}

/// Whether the door let it through, which it must do exactly when the matrix says so.
#[track_caller]
fn judged(answer: Answer, may: bool, told: &str) {
    if may {
        assert!((200..300).contains(&answer.status), "{told}: {} {:#}", answer.status, answer.body);
    } else {
        answer.problem(403, "refused");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_obey_the_matrix() {
    let cells = cells();
    for database in Database::BOTH {
        let scene = Scene::open(database).await;
        let stock = Stock::fill(&scene).await;
        let auto = json!({ "threshold": "1", "target": "5", "provider": "manual", "day_cap": "10",
            "month_cap": "10" });
        let first = scene.team.owner.with("If-Match", "\"v0\"");
        first.put("/teams/ours/auto-top-up", auto.clone()).await.expect(200);
        for (at, person) in scene.people.iter().enumerate() {
            let (role, caller) = (person.role, &person.caller);
            let says = |kind: &str, verb, own| {
                cells.iter().find(|cell| cell.role == role && cell.kind == kind).unwrap().says(verb, own)
            };
            // Looking at what is the team's, and at one's own part of it.
            for (kind, path) in [
                ("balance", "balance?view=admin"),
                ("voucher", "vouchers"),
                ("transaction", "transactions?view=admin"),
                ("billing_details", "terms"),
                ("balance_alert", "alerts"),
                ("budget", "budgets?view=admin"),
                ("top_up", "top-ups"),
                ("auto_top_up", "auto-top-up"),
                ("bill", "bills?view=admin"),
                ("instance", "instances?view=admin"),
                ("storage", "drives?view=admin"),
                ("api_key", "api-keys?view=admin"),
                ("member", "members"),
                ("audit_log", "audit"),
            ] {
                let answer = caller.get(&format!("/teams/ours/{path}")).await;
                judged(answer, says(kind, Verb::View, false), &format!("{role} {path}"));
                caller.get(&format!("/teams/theirs/{path}")).await.problem(404, "not-found");
            }
            for (kind, path) in [
                ("balance", "balance?view=self"),
                ("transaction", "transactions?view=self"),
                ("budget", "budgets?view=self"),
                ("bill", "bills?view=self"),
                ("instance", "instances?view=self"),
                ("storage", "drives?view=self"),
                ("api_key", "api-keys?view=self"),
            ] {
                let answer = caller.get(&format!("/teams/ours/{path}")).await;
                judged(answer, says(kind, Verb::View, true), &format!("{role} {path}"));
            }
            // Changing what is the team's.
            let terms = scene.team.owner.get("/teams/ours/terms").await.expect(200);
            let versioned = caller.with("If-Match", terms.etag());
            let new = json!({ "spending": "pool", "runway_minutes": 10 + at, "time_zone": "UTC" });
            let answer = versioned.put("/teams/ours/terms", new).await;
            judged(answer, says("billing_details", Verb::Write, false), &format!("{role} terms"));
            let budget = json!({ "name": role.word(), "scope": "team", "period": "monthly", "ceiling": "900",
                "reaction": "alert" });
            for (kind, path, body) in [
                ("balance", "credits/assign", json!({ "member": scene.colleague(role).id, "amount": "1" })),
                ("voucher", "vouchers/redeem", json!({ "code": stock.vouchers[at] })),
                (
                    "balance_alert",
                    "alerts",
                    json!({ "metric": "balance", "threshold": format!("{}", at + 1) }),
                ),
                ("budget", "budgets", budget),
                ("top_up", "top-ups", json!({ "amount": "5" })),
                ("member", "members", json!({ "account": format!("new-{role}"), "role": "basic" })),
                ("quota_request", "quota-requests", json!({ "limits": { "gpus": 9 }, "reason": "more" })),
            ] {
                let answer = caller.post(&format!("/teams/ours/{path}"), body.clone()).await;
                if kind == "member" && answer.status == 201 {
                    let made = format!("/teams/ours/members/{}", answer.text("id"));
                    scene.team.owner.delete(&made).await.expect(204);
                }
                judged(answer, says(kind, Verb::Write, false), &format!("{role} {path}"));
                caller.post(&format!("/teams/theirs/{path}"), body).await.problem(404, "not-found");
            }
            let now = scene.team.owner.get("/teams/ours/auto-top-up").await.expect(200);
            let versioned = caller.with("If-Match", now.etag());
            let answer = versioned.put("/teams/ours/auto-top-up", auto.clone()).await;
            judged(answer, says("auto_top_up", Verb::Write, false), &format!("{role} auto-top-up"));
            // Instances and keys, one's own and a colleague's.
            for own in [true, false] {
                let told = format!("{role} own={own}");
                if let Some(id) = Stock::one(&stock.instances, role, own) {
                    let path = format!("/teams/ours/instances/{id}");
                    judged(caller.get(&path).await, says("instance", Verb::View, own), &told);
                    let answer = caller.post(&format!("{path}/stop"), json!({})).await;
                    judged(answer, says("instance", Verb::Write, own), &told);
                    caller.get(&format!("/teams/theirs/instances/{id}")).await.problem(404, "not-found");
                }
                if let Some(id) = Stock::one(&stock.keys, role, own) {
                    let answer = caller.delete(&format!("/teams/ours/api-keys/{id}")).await;
                    judged(answer, says("api_key", Verb::Write, own), &told);
                }
            }
            let launch =
                json!({ "name": "more", "product": "cpu", "image": "base", "mount_team_drive": false });
            let answer = caller.post("/teams/ours/instances", launch.clone()).await;
            judged(answer, says("instance", Verb::Write, true), &format!("{role} launch"));
            caller.post("/teams/theirs/instances", launch).await.problem(404, "not-found");
        }
    }
}
