//! The key `backup`: where volumes are backed up to, and when.

use std::path::PathBuf;
use std::time::Duration;

use bhatti_engine::config::{BackupSettings, BackupTarget, S3Settings, Schedule, ScheduledBackup};
use bhatti_types::idle::IdleTime;
use bhatti_types::name::{UserName, VolumeName};
use serde::Deserialize;

/// The region of storage that has none: the one that other programs assume.
const DEFAULT_REGION: &str = "us-east-1";

/// What stands under the key. The names of the fields are the original's.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    s3_endpoint: String,
    s3_region: String,
    s3_bucket: String,
    s3_access_key: String,
    s3_secret_key: String,
    directory: Option<PathBuf>,
    schedule: Vec<GivenSchedule>,
}

/// One volume that is backed up by itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenSchedule {
    volume: VolumeName,
    #[serde(default = "local")]
    user: UserName,
    cron: Option<String>,
    every: Option<IdleTime>,
    retention: Option<usize>,
    to: Option<BackupTarget>,
}

/// The built-in user, to whom what is made over the socket belongs.
fn local() -> UserName {
    "local".parse().expect("the built-in name is well formed")
}

/// The checked value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "Given")]
pub(crate) struct Backup(pub(crate) BackupSettings);

impl TryFrom<Given> for Backup {
    type Error = String;

    fn try_from(given: Given) -> Result<Self, String> {
        let s3 = match (given.s3_endpoint.as_str(), given.s3_bucket.as_str()) {
            ("", "") => None,
            ("", _) | (_, "") => {
                return Err("s3_endpoint and s3_bucket must be given together".to_owned());
            }
            _ => Some(S3Settings {
                endpoint: given.s3_endpoint,
                region: match given.s3_region.as_str() {
                    "" => DEFAULT_REGION.to_owned(),
                    _ => given.s3_region,
                },
                bucket: given.s3_bucket,
                access_key: given.s3_access_key,
                secret_key: given.s3_secret_key,
            }),
        };
        if given
            .directory
            .as_ref()
            .is_some_and(|dir| !dir.is_absolute())
        {
            return Err("directory must be an absolute path".to_owned());
        }
        let schedule = given.schedule.into_iter().map(scheduled);
        Ok(Self(BackupSettings {
            s3,
            directory: given.directory,
            schedule: schedule.collect::<Result<_, _>>()?,
        }))
    }
}

fn scheduled(given: GivenSchedule) -> Result<ScheduledBackup, String> {
    let when = match (given.cron, given.every) {
        (Some(cron), None) => Schedule::Cron(cron.parse().map_err(|error| format!("{error}"))?),
        (None, Some(every)) => {
            let time = match every {
                IdleTime::After(time) => time,
                IdleTime::Never => Duration::ZERO,
            };
            Schedule::every(time).map_err(|error| error.to_string())?
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(format!(
                "the schedule of volume {} must have one of cron and every",
                given.volume
            ));
        }
    };
    if given.retention == Some(0) {
        return Err("retention must be at least 1".to_owned());
    }
    Ok(ScheduledBackup {
        user: given.user,
        volume: given.volume,
        when,
        retention: given.retention,
        to: given.to,
    })
}

#[cfg(test)]
mod test {
    use super::Backup;

    fn read(yaml: &str) -> Result<Backup, String> {
        serde_yaml_ng::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn the_originals_keys_are_taken() {
        let backup = read(
            "s3_endpoint: https://s3.example.com\ns3_bucket: b\ns3_access_key: k\n\
             s3_secret_key: s\nschedule:\n- volume: data\n  cron: 0 3 * * *\n  retention: 7\n\
             - volume: logs\n  user: alice\n  every: 6h\n  to: directory\n",
        )
        .unwrap()
        .0;
        let s3 = backup.s3.unwrap();
        assert_eq!(s3.region, "us-east-1");
        assert!(!format!("{s3:?}").contains("\"s\""));
        assert_eq!(backup.schedule[0].user.as_str(), "local");
        assert_eq!(backup.schedule[0].retention, Some(7));
    }

    #[test]
    fn what_would_not_work_is_refused_at_the_start() {
        for wrong in [
            "s3_endpoint: https://s3.example.com",
            "s3_bucket: b",
            "directory: relative",
            "nosuch: 1",
            "schedule: [{volume: data}]",
            "schedule: [{volume: data, cron: '0 3 * * *', every: 6h}]",
            "schedule: [{volume: data, cron: '0 3 * *'}]",
            "schedule: [{volume: data, every: never}]",
            "schedule: [{volume: data, every: 6h, retention: 0}]",
            "schedule: [{volume: a/b, every: 6h}]",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
