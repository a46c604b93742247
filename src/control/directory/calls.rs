//! Calls between two clients: decides who may join, and mails what `control/calls.rs` says.

use super::Directory;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::control::calls::News;
use crate::model::call::{CallNews, CallStep, JoinAsk, JoinGrant};
use crate::model::definition::Definition;
use crate::model::mail::{AppName, WorkerMail};

impl Directory {
    /// A connection asks or tells something about a call.
    pub(super) fn call(&mut self, now: Now, conn: ConnId, app: &AppName, step: CallStep) {
        let mut news = News::new();
        match step {
            CallStep::Join { request, ask } => {
                let result = self.decide_join(conn, app, &ask, &mut news);
                let news = CallNews::Decision { request, result };
                self.outbox
                    .push_back((conn.worker, WorkerMail::Call { conn, news }));
            }
            CallStep::Leave { stream } => {
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
        for (conn, stream, event) in news {
            let news = CallNews::Event { stream, event };
            self.outbox
                .push_back((conn.worker, WorkerMail::Call { conn, news }));
        }
    }

    fn decide_join(
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
