//! Ant Media's settings that have no meaning here: recording, transcoding, HLS, DASH, RTMP,
//! clustering, object storage. They are accepted, so that an operator can bring a file or a REST
//! body along unchanged, and named as ignored, so that nobody believes they work.

/// True for a setting of Ant Media's that has no meaning here.
pub fn is_foreign(name: &str) -> bool {
    let has_prefix = |prefix: &&str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '.'))
    };
    FOREIGN.contains(&name) || FOREIGN_PREFIXES.iter().any(has_prefix)
}

/// Checks of Ant Media's that are not made here, and what to do about that. One that is switched
/// on is an error and not ignored: somebody relies on it.
pub fn advice_for_check(name: &str) -> Option<&'static str> {
    let (_, advice) = UNMADE_CHECKS.iter().find(|(check, _)| *check == name)?;
    Some(advice)
}

const UNMADE_CHECKS: [(&str, &str); 4] = [
    (
        "tokenControlEnabled",
        "set publishTokenControlEnabled and playTokenControlEnabled",
    ),
    (
        "timeTokenSubscriberOnly",
        "set enableTimeTokenForPublish and enableTimeTokenForPlay",
    ),
    (
        "jwtBlacklistEnabled",
        "a JWT is good until it expires: give it a short time",
    ),
    ("jwksURL", "JWTs are checked with the application's own key"),
];

/// Families of names: what they begin with, before a capital letter or a dot.
const FOREIGN_PREFIXES: [&str; 23] = [
    "abr",
    "dash",
    "encoding",
    "endpoint",
    "excessiveBandwidth",
    "excessiveBandwith",
    "facebook",
    "hls",
    "httpforwarding",
    "lLDash",
    "lLHLS",
    "mp4",
    "periscope",
    "portAllocator",
    "preview",
    "rtmp",
    "rtsp",
    "s3",
    "signaling",
    "srt",
    "streamFetcher",
    "webM",
    "youtube",
];

/// Names that belong to no family.
const FOREIGN: [&str; 120] = [
    "aacEncodingEnabled",
    "addDateTimeToHlsFileName",
    "addDateTimeToMp4FileName",
    "addOriginalMuxerIntoHLSPlaylist",
    "addOriginalMuxerIntoHlsPlaylist",
    "addOriginalMuxerIntoMP4",
    "apnKeyId",
    "apnPrivateKey",
    "apnTeamId",
    "apnsServer",
    "appInstallationTime",
    "appName",
    "appStatus",
    "audioBitrateSFU",
    "chunkTransferBufferSizeInKB",
    "clusterCommunicationKey",
    "collectSocialMediaActivity",
    "collectSocialMediaActivityEnabled",
    "constantRateFactor",
    "contentSecurityPolicyHeaderValue",
    "createPreviewPeriod",
    "customSetting",
    "customSettings",
    "defaultDecodersEnabled",
    "deleteDASHFilesOnEnded",
    "deleteHLSFilesOnEnded",
    "disableAudio",
    "disableIPv6Candidates",
    "encoderLevel",
    "encoderName",
    "encoderParameters",
    "encoderPreset",
    "encoderProfile",
    "encoderRc",
    "encoderSelectionPreference",
    "encoderSpecific",
    "encoderThreadCount",
    "encoderThreadType",
    "excessiveBandwidth_enabled",
    "fileNameFormat",
    "firebaseAccountKeyJSON",
    "forceAspectRatioInTranscoding",
    "forceAspectRationInTranscoding",
    "forceDecoding",
    "generatePreview",
    "gopSize",
    "h265EncoderLevel",
    "h265EncoderPreset",
    "h265EncoderProfile",
    "h265EncoderRc",
    "h265EncoderSpecific",
    "heightRtmpForward",
    "heightRtmpForwarding",
    "hlsflags",
    "httpForwardingBaseURL",
    "httpForwardingExtension",
    "hwDecoderEnabled",
    "hwScalingEnabled",
    "iceGatheringTimeoutMs",
    "id3TagEnabled",
    "ingestingStreamLimitPerNode",
    "jwksURL",
    "jwtBlacklistEnabled",
    "maxAnalyzeDurationMS",
    "maxBitrateAccept",
    "maxFpsAccept",
    "maxResolutionAccept",
    "muxerFinishScript",
    "mySqlClientPath",
    "ndiSources",
    "objectDetectionEnabled",
    "originEdgeConnectionIdleTimeout",
    "originEdgeIdleTimeout",
    "packetLossDiffThresholdForSwitchback",
    "pullWarFile",
    "receiveTrackAddedTimeout",
    "recordingSubfolder",
    "relayRTMPMetaDataToMuxers",
    "replaceCandidateAddrWithServerAddr",
    "restartStreamFetcherPeriod",
    "rttMeasurementDiffThresholdForSwitchback",
    "secureAnalyticEndpoint",
    "stalkerDBPassword",
    "stalkerDBServer",
    "stalkerDBUsername",
    "startStreamFetcherAutomatically",
    "statsBasedABRAlgorithmEnabled",
    "statsBasedABREnabled",
    "streamEndedScript",
    "streamIdleTimeoutScript",
    "streamStartedScript",
    "subFolder",
    "subscriberAuthenticationKey",
    "targetLatency",
    "timeTokenSubscriberOnly",
    "toBeDeleted",
    "tokenControlEnabled",
    "updateTime",
    "uploadExtensionsToS3",
    "useOriginalWebRTCEnabled",
    "useTimelineDashMuxing",
    "vodFinishScript",
    "vodFolder",
    "vodUploadFinishScript",
    "vp8EncoderDeadline",
    "vp8EncoderSpeed",
    "vp8EncoderThreadCount",
    "warFileOriginServerAddress",
    "webRTCFrameRate",
    "webRTCKeyframeTime",
    "webRTCPortRangeMax",
    "webRTCPortRangeMin",
    "webRTCSdpSemantics",
    "webRTCTcpCandidatesEnabled",
    "webrtc.portRangeMax",
    "webrtc.portRangeMin",
    "webrtc.sdpSemantics",
    "webrtc.tcpCandidateEnabled",
    "writeStatsToDatastore",
    "writeSubscriberEventsToDatastore",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_families_and_single_names_but_no_typing_errors() {
        for name in [
            "hlsMuxingEnabled",
            "mp4MuxingEnabled",
            "s3AccessKey",
            "gopSize",
            "hlsflags",
            "srtReceiveLatencyInMs",
            "encoding.threadCount",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        for name in [
            "hls",
            "hlsmuxing",
            "mp4_",
            "webRTCViewerLimt",
            "gopsize",
            "",
        ] {
            assert!(!is_foreign(name), "{name}");
        }
    }

    #[test]
    fn no_setting_of_this_server_is_foreign() {
        let settings = serde_json::to_value(super::super::AppSettings::default()).unwrap();
        for name in settings.as_object().unwrap().keys() {
            assert!(!is_foreign(name), "{name}");
            assert!(advice_for_check(name).is_none(), "{name}");
        }
        assert!(FOREIGN.is_sorted());
        assert!(UNMADE_CHECKS.iter().all(|(name, _)| is_foreign(name)));
    }
}
