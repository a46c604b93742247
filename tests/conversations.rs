//! Runs every conversation of `tests/data/conversations/*.txt`: several WebSockets around the
//! product's own engines and directory, in virtual time.
//!
//! One line, one thing; a word at its beginning names a socket:
//!
//! ```text
//! # comment
//! settings {json}           the application's settings; before everything else
//! socket NAME WORKER        a WebSocket to this worker
//! publisher NAME WORKER ID  a client with camera and microphone publishes ID and is connected
//! viewer NAME WORKER ID     a client plays ID and is connected
//! NAME > {json} {json}      the client sends these, one behind the other
//! NAME < {json}             the server's next message to it is exactly this, see below
//! @ 10s   @ 500ms           time passes
//! close NAME                the socket is gone
//! ```
//!
//! In an expected message "*" is anything, "#" a number that is not 0, "..." inside a text any
//! text, an object where a text is sent the JSON in that text, and a member "..." says that there
//! are others besides.
//!
//! Nothing may be sent to a `socket` that no `<` line expects; publishers and viewers carry on
//! their own conversation, of which a `<` line finds its message behind the one found before.

#[path = "sim/agenda.rs"]
mod agenda;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/client.rs"]
mod client;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/control.rs"]
mod control;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/media.rs"]
mod media;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/network.rs"]
mod network;
#[allow(dead_code, reason = "the simulator's, used here in part")]
#[path = "sim/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use leafcutter::base::ids::ConnId;
use leafcutter::model::settings::AppSettings;
use serde_json::Value;

use control::Control;
use world::World;

#[test]
fn every_conversation_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/conversations");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 2, "conversations are missing");
    let failures: Vec<String> = files.iter().filter_map(|file| run(file).err()).collect();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

fn run(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).unwrap();
    hold(&file.file_name().unwrap().to_string_lossy(), &text)
}

/// Runs one conversation; `shown` names it in complaints.
pub fn hold(shown: &str, text: &str) -> Result<(), String> {
    let mut room = Room {
        world: World::new(1, 2),
        people: BTreeMap::new(),
    };
    for (number, line) in text.lines().enumerate() {
        let failed = |why: String| format!("{shown}:{}: {why}\n    {line}", number + 1);
        room.line(line.trim()).map_err(failed)?;
    }
    room.nothing_unexpected()
        .map_err(|why| format!("{shown}: at its end: {why}"))
}

/// The world and who speaks in it.
struct Room {
    world: World,
    people: BTreeMap<String, Person>,
}

#[derive(Clone, Copy)]
enum Person {
    /// A WebSocket that the conversation speaks for.
    Socket(ConnId),
    /// A client with media, and how many of its messages were looked at.
    Client(usize, usize),
}

impl Room {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" => Ok(()),
            _ if word.starts_with('#') => Ok(()),
            "settings" => {
                let settings = serde_json::from_str::<AppSettings>(rest);
                self.world.control = Control::new(settings.map_err(|e| e.to_string())?);
                Ok(())
            }
            "socket" | "publisher" | "viewer" => self.enter(word, rest),
            "@" => {
                self.nothing_unexpected()?;
                self.world.run(duration(rest)?);
                Ok(())
            }
            "close" => {
                self.nothing_unexpected()?;
                match self.person(rest)? {
                    Person::Socket(conn) => self.world.close_conn(conn),
                    Person::Client(number, _) => self.world.close(number),
                }
                self.world.run(REPLY_TIME);
                Ok(())
            }
            name => match rest.split_once(' ') {
                Some((">", json)) => self.say(name, json),
                Some(("<", json)) => self.expect(name, json),
                _ => Err("no such kind of line".to_owned()),
            },
        }
    }

    fn enter(&mut self, kind: &str, rest: &str) -> Result<(), String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (name, worker) = match words.as_slice() {
            [name, worker, ..] => (name, worker.parse().map_err(|_| "no worker")?),
            _ => return Err("a name and a worker are missing".to_owned()),
        };
        let id = words.get(2).copied().unwrap_or_default();
        let person = match kind {
            "publisher" => Person::Client(self.world.publish(worker, id), 0),
            "viewer" => Person::Client(self.world.play(worker, id), 0),
            _ => Person::Socket(self.world.open_conn(worker)),
        };
        if matches!(person, Person::Client(..)) {
            self.world.connect();
        }
        self.people.insert((*name).to_owned(), person);
        Ok(())
    }

    fn say(&mut self, name: &str, json: &str) -> Result<(), String> {
        self.nothing_unexpected()?;
        let messages = serde_json::Deserializer::from_str(json).into_iter::<Value>();
        for message in messages {
            let message = message.map_err(|e| e.to_string())?;
            match self.person(name)? {
                Person::Socket(conn) => self.world.tell(conn, message.to_string()),
                Person::Client(number, _) => self.world.say(number, message),
            }
        }
        self.world.run(REPLY_TIME);
        Ok(())
    }

    fn expect(&mut self, name: &str, json: &str) -> Result<(), String> {
        let want: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        match self.person(name)? {
            Person::Socket(conn) => {
                let unheard = &mut self.world.unheard;
                let at = unheard.iter().position(|(to, _)| *to == conn);
                let (_, text) = unheard.remove(at.ok_or("the server sent nothing")?);
                let got: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
                if matches(&want, &got) {
                    return Ok(());
                }
                Err(format!("the server sent {text}"))
            }
            Person::Client(number, seen) => {
                let heard = &self.world.clients[number].heard[seen..];
                let at = heard.iter().position(|got| matches(&want, got));
                let at = at.ok_or_else(|| format!("not among {heard:?}"))?;
                let person = Person::Client(number, seen + at + 1);
                self.people.insert(name.to_owned(), person);
                Ok(())
            }
        }
    }

    fn nothing_unexpected(&self) -> Result<(), String> {
        match self.world.unheard.first() {
            Some((conn, text)) => Err(format!("{} was also sent {text}", self.name(*conn))),
            None => Ok(()),
        }
    }

    fn name(&self, of: ConnId) -> &str {
        let is = |person: &Person| matches!(person, Person::Socket(conn) if *conn == of);
        let mut people = self.people.iter();
        people
            .find(|(_, person)| is(person))
            .map_or("nobody", |(name, _)| name)
    }

    fn person(&self, name: &str) -> Result<Person, String> {
        let person = self.people.get(name);
        person
            .copied()
            .ok_or_else(|| format!("nobody is called {name}"))
    }
}

/// Whether `got` is `want`, which may hold the wildcards that are explained above.
fn matches(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::String(any), _) if any == "*" => true,
        (Value::String(any), Value::Number(got)) if any == "#" => got.as_f64() != Some(0.0),
        (Value::String(want), Value::String(got)) if want.contains("...") => has_parts(want, got),
        (Value::Object(_), Value::String(got)) => {
            serde_json::from_str(got).is_ok_and(|got: Value| got.is_object() && matches(want, &got))
        }
        (Value::Object(want), Value::Object(got)) => {
            let others = want.contains_key("...");
            let mut members = want.iter().filter(|(key, _)| *key != "...");
            (others || want.len() == got.len())
                && members.all(|(key, w)| got.get(key).is_some_and(|g| matches(w, g)))
        }
        (Value::Array(want), Value::Array(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(w, g)| matches(w, g))
        }
        (want, got) => want == got,
    }
}

/// Whether the parts of `want` between its dots come one behind the other in `got`.
fn has_parts(want: &str, got: &str) -> bool {
    let mut parts = want.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = got.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let (last, middle) = parts.split_last().expect("there are dots");
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => return Err("a time ends in s or ms".to_owned()),
    };
    let number: u64 = number.trim().parse().map_err(|_| "no number")?;
    Ok(Duration::from_millis(number * unit_ms))
}

/// Long enough for a message, a decision and a reply.
const REPLY_TIME: Duration = Duration::from_millis(40);
