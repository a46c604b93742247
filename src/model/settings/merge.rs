//! Changes of an application's settings as REST sends them: some fields of a JSON object, laid over
//! the settings in use.

use serde_json::{Map, Value};

use super::check::BadSetting;
use super::{ALIASES, AppSettings, PREFIX, advice_for_check};

/// Fields that were taken out of an object, each known and of the right type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettingsChange {
    /// What is changed, under today's names.
    pub fields: Map<String, Value>,
    /// Names that have no meaning here.
    pub ignored: Vec<String>,
}

/// A changed setting that cannot be laid over the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its name.
    pub name: String,
    /// Why; of another setting where that is missing.
    pub fault: BadSetting,
}

impl SettingsChange {
    /// Takes the settings out of `object`. Older names count as today's, where those are missing.
    /// Null leaves a setting as it is, and so does the mask of a secret.
    ///
    /// # Errors
    /// What is wrong with the first field whose type is wrong.
    pub fn take(object: Map<String, Value>) -> Result<Self, String> {
        let known = fields_of(&AppSettings::default());
        let mut change = Self::default();
        for (name, value) in object {
            change.take_field(&known, name, value)?;
        }
        Ok(change)
    }

    /// The same for what was stored once: what cannot be read any more is left out, and said.
    pub fn take_readable(object: Map<String, Value>) -> (Self, Vec<String>) {
        let known = fields_of(&AppSettings::default());
        let (mut change, mut faults) = (Self::default(), Vec::new());
        for (name, value) in object {
            faults.extend(change.take_field(&known, name, value).err());
        }
        (change, faults)
    }

    fn take_field(
        &mut self,
        known: &Map<String, Value>,
        name: String,
        value: Value,
    ) -> Result<(), String> {
        let short = name.strip_prefix(PREFIX).unwrap_or(&name);
        let alias = ALIASES.iter().find(|(other, _)| *other == short);
        let name = alias.map_or(short, |(_, own)| own).to_owned();
        if !known.contains_key(&name) {
            let is_off = value.is_null() || value == false || value == "";
            if let Some(advice) = advice_for_check(&name).filter(|_| !is_off) {
                return Err(format!("{name} is not checked here: {advice}"));
            }
            self.ignored.push(name);
        } else if !leaves_as_it_is(&name, &value) {
            let value = rendition_text(&name, value);
            self.check_type(&name, &value)?;
            if alias.is_none() || !self.fields.contains_key(&name) {
                self.fields.insert(name, value);
            }
        }
        Ok(())
    }

    /// Those of its fields that shape a session when it is made: who is connected keeps what it has
    /// until it comes again.
    pub fn for_newcomers(&self) -> Vec<&str> {
        let names = self.fields.keys().map(String::as_str);
        names.filter(|name| FOR_NEWCOMERS.contains(name)).collect()
    }

    /// `settings` with this laid over them. The values are unchecked.
    pub fn over(&self, settings: &AppSettings) -> AppSettings {
        let mut fields = fields_of(settings);
        fields.extend(self.fields.clone());
        // INVARIANT: `take` has read every field by itself.
        serde_json::from_value(Value::Object(fields)).unwrap_or_else(|_| settings.clone())
    }

    /// `settings` with as much of this laid over them as passes the check, and what does not. One
    /// setting may need another, so each is tried again as long as any is taken.
    pub fn usable_over(&self, settings: &AppSettings) -> (AppSettings, Vec<Unusable>) {
        let all = self.over(settings);
        if all.check().is_ok() {
            return (all, Vec::new());
        }
        let mut usable = settings.clone();
        let mut rest = self.fields.clone();
        loop {
            let mut unusable = Vec::new();
            for (name, value) in &rest {
                let alone = Self {
                    fields: Map::from_iter([(name.clone(), value.clone())]),
                    ignored: Vec::new(),
                };
                let with_it = alone.over(&usable);
                match with_it.check() {
                    Ok(()) => usable = with_it,
                    Err(fault) => unusable.push(Unusable {
                        name: name.clone(),
                        fault,
                    }),
                }
            }
            if unusable.is_empty() || unusable.len() == rest.len() {
                return (usable, unusable);
            }
            rest.retain(|name, _| unusable.iter().any(|each| each.name == *name));
        }
    }

    fn check_type(&self, name: &str, value: &Value) -> Result<(), String> {
        let alone = Map::from_iter([(name.to_owned(), value.clone())]);
        let read = serde_json::from_value::<AppSettings>(Value::Object(alone));
        read.map(|_| ()).map_err(|e| format!("{name}: {e}"))
    }
}

impl AppSettings {
    /// As JSON that may be shown: secrets that are set are masked.
    pub fn shown(&self) -> Map<String, Value> {
        let mut fields = fields_of(self);
        for (name, value) in &mut fields {
            if SECRETS.contains(&name.as_str()) && value.as_str().is_some_and(|s| !s.is_empty()) {
                *value = Value::from(MASK);
            }
        }
        fields
    }
}

fn leaves_as_it_is(name: &str, value: &Value) -> bool {
    value.is_null() || (SECRETS.contains(&name) && value == MASK)
}

/// INTEROP(antmedia) newer versions write `encoderSettings` as a list of renditions, older ones as
/// a text of height, video and audio bit rate in turn, which is what is kept here.
fn rendition_text(name: &str, value: Value) -> Value {
    let Value::Array(renditions) = &value else {
        return value;
    };
    let number = |rendition: &Value, key: &str| rendition.get(key).and_then(Value::as_u64);
    let text = |rendition: &Value| {
        let height = number(rendition, "height")?;
        let video = number(rendition, "videoBitrate")?;
        let audio = number(rendition, "audioBitrate")?;
        Some(format!("{height},{video},{audio}"))
    };
    let texts: Option<Vec<String>> = renditions.iter().map(text).collect();
    match texts {
        Some(texts) if name == "encoderSettings" => Value::from(texts.join(",")),
        Some(_) | None => value,
    }
}

fn fields_of(settings: &AppSettings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Settings that a session takes when it is made.
const FOR_NEWCOMERS: [&str; 12] = [
    "h264Enabled",
    "vp8Enabled",
    "vp9Enabled",
    "h265Enabled",
    "av1Enabled",
    "dataChannelEnabled",
    "stunServerURI",
    "turnServerUsername",
    "turnServerCredential",
    "turnServerSecret",
    "maxVideoTrackCount",
    "maxAudioTrackCount",
];

/// What is shown in place of a secret that is set.
const MASK: &str = "********";

/// Settings that are written and never shown.
const SECRETS: [&str; 7] = [
    "jwtSecretKey",
    "jwtStreamSecretKey",
    "timeTokenSecretForPlay",
    "timeTokenSecretForPublish",
    "tokenHashSecret",
    "turnServerCredential",
    "turnServerSecret",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn take(object: Value) -> Result<SettingsChange, String> {
        let Value::Object(object) = object else {
            panic!("no object");
        };
        SettingsChange::take(object)
    }

    #[test]
    fn changes_what_is_named_and_names_what_is_ignored() {
        let change = take(json!({
            "webRTCViewerLimit": 3,
            "settings.webrtc.client.start.timeoutMs": 700,
            "hlsMuxingEnabled": true,
            "vp8Enabled": null,
        }))
        .unwrap();
        assert_eq!(change.ignored, ["hlsMuxingEnabled"]);
        let expected = AppSettings {
            webrtc_viewer_limit: 3,
            webrtc_client_start_timeout_ms: 700,
            ..AppSettings::default()
        };
        assert_eq!(change.over(&AppSettings::default()), expected);
    }

    #[test]
    fn an_older_name_counts_where_todays_is_missing() {
        let text = |change: SettingsChange| change.over(&AppSettings::default()).encoder_settings;
        let old = take(json!({"encoderSettingsString": "480,1,2"}));
        assert_eq!(text(old.unwrap()), "480,1,2");
        let both = json!({"encoderSettingsString": "480,1,2", "encoderSettings": "720,3,4"});
        assert_eq!(text(take(both).unwrap()), "720,3,4");
        // Here the older name comes behind today's in the alphabet, there in front of it.
        let both =
            json!({"dataChannelWebHook": "http://old", "dataChannelWebHookURL": "http://new"});
        let both = take(both).unwrap().over(&AppSettings::default());
        assert_eq!(both.data_channel_web_hook_url, "http://new");
    }

    #[test]
    fn a_check_that_is_not_made_here_cannot_be_switched_on() {
        let off = take(json!({"tokenControlEnabled": false, "jwksURL": "", "gopSize": 1}));
        assert_eq!(off.unwrap().ignored.len(), 3);
        let on = take(json!({"tokenControlEnabled": true})).unwrap_err();
        assert!(on.contains("playTokenControlEnabled"), "{on}");
    }

    #[test]
    fn a_wrong_type_is_named() {
        for (name, value) in [
            ("webRTCViewerLimit", json!("many")),
            ("audioLevelThreshold", json!(256)),
            ("dataChannelPlayerDistribution", json!("some")),
            ("participantVisibilityMatrix", json!([])),
            ("encoderSettings", json!([{ "height": 1 }])),
        ] {
            let error = take(json!({ name: value })).unwrap_err();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_laid_over_is_left_out_alone() {
        let change = take(json!({
            "jwtControlEnabled": true,
            "jwtSecretKey": "k",
            "playTokenControlEnabled": true,
            "timeTokenPeriod": 1,
        }))
        .unwrap();
        let (usable, unusable) = change.usable_over(&AppSettings::default());
        assert!(usable.jwt_control_enabled && usable.play_token_control_enabled);
        assert_eq!(unusable.len(), 1, "the two need each other: {unusable:?}");
        assert_eq!(unusable[0].name, "timeTokenPeriod");

        let change = take(json!({ "jwtControlEnabled": true, "vp9Enabled": false })).unwrap();
        let (usable, unusable) = change.usable_over(&AppSettings::default());
        assert!(!usable.jwt_control_enabled && !usable.vp9_enabled);
        assert_eq!(unusable[0].name, "jwtControlEnabled");
        assert_eq!(unusable[0].fault.name, "jwtSecretKey");
    }

    #[test]
    fn what_was_stored_and_cannot_be_read_is_left_out_alone() {
        let stored = json!({ "vp9Enabled": "often", "webRTCViewerLimit": 3 });
        let (change, faults) = SettingsChange::take_readable(stored.as_object().unwrap().clone());
        assert_eq!(change.over(&AppSettings::default()).webrtc_viewer_limit, 3);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("vp9Enabled: "), "{faults:?}");
    }

    #[test]
    fn a_list_of_renditions_becomes_a_text() {
        let renditions = json!([
            {
                "height": 720, "videoBitrate": 2_000_000, "audioBitrate": 64_000,
                "forceEncode": true,
            },
            { "height": 240, "videoBitrate": 300_000, "audioBitrate": 32_000 },
        ]);
        let change = take(json!({ "encoderSettings": renditions })).unwrap();
        let settings = change.over(&AppSettings::default());
        assert_eq!(
            settings.encoder_settings,
            "720,2000000,64000,240,300000,32000"
        );
    }

    #[test]
    fn secrets_are_masked_and_the_mask_changes_nothing() {
        let mut settings = AppSettings::default();
        for name in SECRETS {
            assert_eq!(settings.shown().get(name), Some(&json!("")), "{name}");
            let change = take(json!({ name: "secret" })).unwrap();
            settings = change.over(&settings);
        }
        let shown = settings.shown();
        assert!(
            !Value::Object(shown.clone())
                .to_string()
                .contains("secret\"")
        );
        assert_eq!(
            SettingsChange::take(shown).unwrap().over(&settings),
            settings
        );
        let cleared = take(json!({ "jwtSecretKey": "" })).unwrap().over(&settings);
        assert_eq!(cleared.jwt_secret_key, "");
    }
}
