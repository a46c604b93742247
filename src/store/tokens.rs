//! One-time tokens. The text of a token is never stored: its hash stands in its place.

use data_encoding::HEXLOWER;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Store;
use super::broadcasts::whole;
use super::error::{Fault, StoreError};
use crate::auth::token::hash_of;
use crate::base::limits::MAX_TOKENS_PER_APP;
use crate::model::access::{AccessKind, Token, TokenGrant};
use crate::model::mail::AppName;

impl Store {
    /// Stores a token, and forgets those of every application that have ended at `now_s`, seconds
    /// since 1970.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one of this text; [`StoreError::Full`] when the
    /// application holds `limits::MAX_TOKENS_PER_APP`.
    pub async fn create_token(
        &self,
        app: &AppName,
        token: Token,
        now_s: i64,
    ) -> Result<(), StoreError> {
        let app = app.clone();
        self.write(move |db| {
            db.prepare_cached("DELETE FROM tokens WHERE expire_s <= ?1")?
                .execute([now_s])?;
            let count: i64 = db
                .prepare_cached("SELECT count(*) FROM tokens WHERE app = ?1")?
                .query_row([&app], |row| row.get(0))?;
            if usize::try_from(count).unwrap_or(usize::MAX) >= MAX_TOKENS_PER_APP {
                return Err(StoreError::Full.into());
            }
            db.prepare_cached(
                "INSERT INTO tokens (app, hash, stream, kind, expire_s, room)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                app,
                hash_of(&token.token_id),
                token.stream_id,
                token.kind.text(),
                token.expire_date,
                token.room_id
            ])?;
            Ok(())
        })
        .await
    }

    /// What a token allows; `None` when there is none of this text.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn token(
        &self,
        app: &AppName,
        token_id: &str,
    ) -> Result<Option<TokenGrant>, StoreError> {
        let (app, hash) = (app.clone(), hash_of(token_id));
        self.read(move |db| find(db, &app, &hash)).await
    }

    /// Uses a token up. False when it is not there (any more): whoever gets true is the one who
    /// used it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn consume_token(&self, app: &AppName, token_id: &str) -> Result<bool, StoreError> {
        let (app, hash) = (app.clone(), hash_of(token_id));
        self.write(move |db| {
            let gone = db
                .prepare_cached("DELETE FROM tokens WHERE app = ?1 AND hash = ?2")?
                .execute(params![app, hash])?;
            Ok(gone > 0)
        })
        .await
    }

    /// Forgets every token of a broadcast; how many there were.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn delete_tokens(&self, app: &AppName, stream: &str) -> Result<usize, StoreError> {
        let (app, stream) = (app.clone(), stream.to_owned());
        self.write(move |db| {
            let gone = db
                .prepare_cached("DELETE FROM tokens WHERE app = ?1 AND stream = ?2")?
                .execute(params![app, stream])?;
            Ok(gone)
        })
        .await
    }

    /// At most `size` tokens of a broadcast, the first `offset` left out, by hash; `token_id` is
    /// the hash in hex.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list_tokens(
        &self,
        app: &AppName,
        stream: &str,
        offset: usize,
        size: usize,
    ) -> Result<Vec<Token>, StoreError> {
        let (app, stream) = (app.clone(), stream.to_owned());
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT stream, kind, expire_s, room, hash FROM tokens
                 WHERE app = ?1 AND stream = ?2 ORDER BY hash LIMIT ?3 OFFSET ?4",
            )?;
            let values = params![app, stream, whole(size), whole(offset)];
            let rows = statement.query_map(values, |row| {
                let grant = grant_of(row)?;
                let hash: [u8; 32] = row.get(4)?;
                Ok(Token {
                    token_id: HEXLOWER.encode(&hash),
                    stream_id: grant.stream_id,
                    expire_date: grant.expire_date,
                    kind: grant.kind,
                    room_id: grant.room_id,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// The token of this hash.
pub(super) fn find(
    db: &Connection,
    app: &AppName,
    hash: &[u8; 32],
) -> Result<Option<TokenGrant>, Fault> {
    let found = db
        .prepare_cached(
            "SELECT stream, kind, expire_s, room FROM tokens WHERE app = ?1 AND hash = ?2",
        )?
        .query_row(params![app, hash], grant_of)
        .optional()?;
    Ok(found)
}

fn grant_of(row: &Row<'_>) -> rusqlite::Result<TokenGrant> {
    let kind: String = row.get(1)?;
    Ok(TokenGrant {
        stream_id: row.get(0)?,
        kind: AccessKind::parse(&kind).unwrap_or(AccessKind::Play),
        expire_date: row.get(2)?,
        room_id: row.get(3)?,
    })
}
