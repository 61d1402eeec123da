//! Sentences: how an instance stands, in words.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::counted;

use super::concern::{Concern, Severity};
use super::overview::{CopyState, InstanceStatus};
use super::trend::Anomaly;
use super::words::{Language, age, long_duration, measured};

/// One sentence on how an instance stands: `safe. Last good 9 h ago; ...`.
pub fn sentence(status: &InstanceStatus, now: Timestamp, language: Language) -> String {
    let is_never = status.last_good.is_none();
    let verdict = match status.severity() {
        Severity::Ok => language.pick("safe", "en sécurité"),
        Severity::Warning => language.pick("safe, but look at it", "en sécurité, mais à regarder"),
        Severity::Critical if is_never => language.pick("NOT BACKED UP", "PAS SAUVEGARDÉE"),
        Severity::Critical => language.pick("AT RISK", "EN DANGER"),
    };
    let mut parts = Vec::new();
    if let Some(time) = status.last_good {
        let age = age(now, time, language);
        parts.push(match language {
            Language::En => format!("last good {age} ago"),
            Language::Fr => format!("dernière bonne sauvegarde il y a {age}"),
        });
    }
    parts.extend(status.copies.iter().map(|copy| copy_part(copy, now, language)));
    if let Some(proof) = &status.proof {
        let (age, took) = (
            age(now, proof.time, language),
            measured(Duration::from_secs_f64(proof.seconds.max(0.0))),
        );
        parts.push(match language {
            Language::En => format!("restored in test {age} ago in {took}"),
            Language::Fr => format!("restaurée en test il y a {age} en {took}"),
        });
    }
    let mut text = format!("{verdict}.");
    let rest = parts.join("; ");
    let mut letters = rest.chars();
    if let Some(first) = letters.next() {
        text = format!("{text} {}{}.", first.to_uppercase(), letters.as_str());
    }
    for one in &status.concerns {
        // What the sentence says already.
        if !matches!(one, Concern::CopyBehind { .. } | Concern::Never) {
            text.push_str(&format!(" {}.", concern(one, language)));
        }
    }
    text
}

fn copy_part(copy: &CopyState, now: Timestamp, language: Language) -> String {
    let (name, behind) = (&copy.known.name, copy.known.behind);
    match (copy.known.copied, behind, language) {
        (Some(time), 0, Language::En) => {
            format!("copy {name} up to date {} ago", age(now, time, language))
        }
        (Some(time), 0, Language::Fr) => {
            format!("copie {name} à jour il y a {}", age(now, time, language))
        }
        (_, _, Language::En) => format!("copy {name} is {} behind", counted(behind, "snapshot")),
        (_, 1, Language::Fr) => format!("la copie {name} a une sauvegarde de retard"),
        (_, _, Language::Fr) => format!("la copie {name} a {behind} sauvegardes de retard"),
    }
}

/// What there is to worry about, without a full stop.
pub fn concern(concern: &Concern, language: Language) -> String {
    let fr = language == Language::Fr;
    match concern {
        Concern::Never => language
            .pick("There is no complete snapshot", "Il n'y a aucune sauvegarde complète")
            .to_owned(),
        Concern::Stale { age, limit } => {
            let (age, limit) = (long_duration(*age, language), long_duration(*limit, language));
            if fr {
                format!("La dernière bonne sauvegarde a {age}, plus que {limit}")
            } else {
                format!("The last good snapshot is {age} old, more than {limit}")
            }
        }
        Concern::LastRun { what, result } => match (fr, result.as_str()) {
            (false, "killed") => format!("The last run was killed at {what}"),
            (true, "killed") => format!("La dernière exécution a été tuée à l'étape {what}"),
            (false, _) => format!("The last run ended {result} at {what}"),
            (true, _) => format!("La dernière exécution a fini en « {result} » à l'étape {what}"),
        },
        Concern::CopyBehind { name, behind, copied } => match (fr, copied) {
            (false, Some(_)) => format!("Copy {name} lacks {behind} of the snapshots"),
            (false, None) => format!("Copy {name} was never completed"),
            (true, Some(_)) if *behind == 1 => {
                format!("Il manque une sauvegarde à la copie {name}")
            }
            (true, Some(_)) => format!("Il manque {behind} sauvegardes à la copie {name}"),
            (true, None) => format!("La copie {name} n'a jamais été terminée"),
        },
        Concern::NeverProven => language
            .pick(
                "No restore of its databases was proven yet (mrs-backup test-restore)",
                "Aucune restauration de ses bases n'a été prouvée (mrs-backup test-restore)",
            )
            .to_owned(),
        Concern::ProofFailed(reason) if fr => {
            format!("Le dernier test de restauration a échoué : {reason}")
        }
        Concern::ProofFailed(reason) => format!("The last test restore failed: {reason}"),
        Concern::ProofOld(age) => {
            let age = long_duration(*age, language);
            if fr {
                format!("La dernière restauration prouvée date de {age}")
            } else {
                format!("The last proven restore is {age} old")
            }
        }
        Concern::DiskFull(days) if fr => {
            format!("Son disque sera plein dans {days:.0} jours environ")
        }
        Concern::DiskFull(days) => format!("Its disk is full in about {days:.0} days"),
        Concern::Odd(Anomaly::Spike) => language
            .pick(
                "The last snapshot added far more than usual",
                "La dernière sauvegarde a ajouté bien plus que d'habitude",
            )
            .to_owned(),
        Concern::Odd(Anomaly::Shrunk) => language
            .pick(
                "The last snapshot has less than half of what there usually is",
                "La dernière sauvegarde contient moins de la moitié de l'habituel",
            )
            .to_owned(),
        Concern::Objection(text) if fr => format!("Rien n'est oublié : {text}"),
        Concern::Objection(text) => format!("Nothing is forgotten: {text}"),
    }
}
