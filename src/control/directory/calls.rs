//! Calls between two clients: decides who may join, and mails what `control/calls.rs` says.

use std::sync::Arc;

use super::Directory;
use super::question::Question;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::control::admission::Asked;
use crate::control::calls::News;
use crate::model::call::{CallNews, CallStep, JoinAsk, JoinGrant};
use crate::model::definition::Definition;
use crate::model::mail::{AppName, Client, WorkerMail};

impl Directory {
    /// A connection asks or tells something about a call.
    pub(super) fn call(
        &mut self,
        now: Now,
        (conn, client): (ConnId, Arc<Client>),
        app: &AppName,
        step: CallStep,
    ) {
        let mut news = News::new();
        match step {
            CallStep::Join { request, ask } => {
                let as_play = ask.as_play(client);
                let asked = Asked::Join(ask, as_play);
                self.ask(Question::new(conn, request, app.clone(), asked));
            }
            CallStep::Leave { stream } => {
                self.withdraw_call(conn, &stream);
                if let Some(app) = self.apps.get_mut(app) {
                    app.calls.leave(now.instant, conn, &stream, &mut news);
                }
            }
            CallStep::Relay { stream, kind, text } => {
                if let Some(app) = self.apps.get_mut(app) {
                    let message = (kind, text);
                    app.calls
                        .relay(now.instant, conn, &stream, message, &mut news);
                }
            }
        }
        self.spread(news);
    }

    /// A WebSocket is gone that said nothing of calls it had not been told of yet.
    pub(super) fn forget_calls(&mut self, now: Now, conn: ConnId) {
        let mut news = News::new();
        for app in self.apps.values_mut() {
            app.calls.forget(now.instant, conn, &mut news);
        }
        self.spread(news);
    }

    /// A join that was checked: answers it, and tells the other member.
    pub(super) fn join(&mut self, conn: ConnId, app: &AppName, request: u64, ask: &JoinAsk) {
        let mut news = News::new();
        let result = self.decide_call(conn, app, ask, &mut news);
        let decision = CallNews::Decision { request, result };
        let mail = WorkerMail::Call {
            conn,
            news: decision,
        };
        self.outbox.push_back((conn.worker, mail));
        self.spread(news);
    }

    fn spread(&mut self, news: News) {
        for (conn, stream, event) in news {
            let news = CallNews::Event { stream, event };
            self.outbox
                .push_back((conn.worker, WorkerMail::Call { conn, news }));
        }
    }

    fn decide_call(
        &mut self,
        conn: ConnId,
        app: &AppName,
        ask: &JoinAsk,
        news: &mut News,
    ) -> Result<JoinGrant, Definition> {
        let app = self
            .apps
            .get_mut(app)
            .ok_or(Definition::NotInitializedYet)?;
        app.calls.join(conn, ask, news)
    }
}
