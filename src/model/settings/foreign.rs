//! Ant Media's settings that have no meaning here: recording, transcoding, HLS, DASH, RTMP,
//! clustering, object storage. They are accepted, so that an operator can bring a file or a REST
//! body along unchanged, and named as ignored, so that nobody believes they work.

/// True for a setting of Ant Media's that has no meaning here.
pub fn is_foreign(name: &str) -> bool {
    let has_prefix = |prefix: &&str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    FOREIGN.contains(&name) || FOREIGN_PREFIXES.iter().any(has_prefix)
}

/// Families of names: the prefix and a capital letter behind it.
const FOREIGN_PREFIXES: [&str; 10] = [
    "hls", "lLHLS", "dash", "lLDash", "mp4", "webM", "s3", "preview", "rtmp", "rtsp",
];

/// Names that belong to no family.
const FOREIGN: [&str; 93] = [
    "aacEncodingEnabled",
    "addDateTimeToMp4FileName",
    "addOriginalMuxerIntoHLSPlaylist",
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
    "constantRateFactor",
    "contentSecurityPolicyHeaderValue",
    "createPreviewPeriod",
    "customSetting",
    "defaultDecodersEnabled",
    "deleteDASHFilesOnEnded",
    "deleteHLSFilesOnEnded",
    "disableIPv6Candidates",
    "encoderLevel",
    "encoderName",
    "encoderPreset",
    "encoderProfile",
    "encoderRc",
    "encoderSelectionPreference",
    "encoderSpecific",
    "encodingThreadCount",
    "encodingThreadType",
    "encodingTimeout",
    "endpointHealthCheckPeriodMs",
    "endpointRepublishLimit",
    "excessiveBandwidthAlgorithmEnabled",
    "excessiveBandwidthCallThreshold",
    "excessiveBandwidthValue",
    "excessiveBandwithTryCountBeforeSwitchback",
    "fileNameFormat",
    "forceAspectRatioInTranscoding",
    "forceDecoding",
    "generatePreview",
    "gopSize",
    "heightRtmpForward",
    "httpForwardingBaseURL",
    "httpForwardingExtension",
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
    "objectDetectionEnabled",
    "packetLossDiffThresholdForSwitchback",
    "portAllocatorFlags",
    "pullWarFile",
    "receiveTrackAddedTimeout",
    "relayRTMPMetaDataToMuxers",
    "replaceCandidateAddrWithServerAddr",
    "restartStreamFetcherPeriod",
    "rttMeasurementDiffThresholdForSwitchback",
    "signalingEnabled",
    "stalkerDBPassword",
    "stalkerDBServer",
    "stalkerDBUsername",
    "startStreamFetcherAutomatically",
    "streamFetcherBufferTime",
    "subFolder",
    "targetLatency",
    "timeTokenSubscriberOnly",
    "tokenControlEnabled",
    "updateTime",
    "uploadExtensionsToS3",
    "useOriginalWebRTCEnabled",
    "useTimelineDashMuxing",
    "vodFinishScript",
    "vodFolder",
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
    "writeStatsToDatastore",
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
        }
        assert!(FOREIGN.is_sorted());
    }
}
