//! Teams and their members: presets, roles, states.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word used on the wire, in rows and in policies.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The one that the word names.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }

        // By hand: the derive would list the variants' names in place of the words on the wire.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some([$($word,)*]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(word: &str) -> Result<Self, String> {
                let known = [$($word,)*].join(", ");
                Self::from_word(word).ok_or_else(|| format!("expected one of {known}, got {word:?}"))
            }
        }
    };
}
pub(crate) use words;

words! {
    /// The set of role rules that a team chose.
    Preset {
        /// Owner, admin and member; members see only their own and what they are shown.
        Glows = "glows",
        /// Everyone sees everything of the team and changes only their own.
        Grid = "grid",
        /// Owner, admin, developer, basic and billing with a matrix of permissions.
        Novita = "novita",
    }
}

words! {
    /// What a member is in a team.
    Role {
        /// The one who created the team.
        Owner = "owner",
        /// Runs the team for the owner.
        Admin = "admin",
        /// Glows: a member who sees what the team shows them.
        Member = "member",
        /// Novita: full use of the team's machines.
        Developer = "developer",
        /// Novita: use of their own machines only.
        Basic = "basic",
        /// Novita: money, and nothing else.
        Billing = "billing",
        /// Grid: sees all, changes their own.
        Collaborator = "collaborator",
    }
}

words! {
    /// Where a membership stands.
    MemberState {
        /// The account was issued and its first password not yet changed.
        Issued = "issued",
        /// In use.
        Active = "active",
        /// Kept, but may do nothing.
        Suspended = "suspended",
        /// Gone; the row stays for the books.
        Removed = "removed",
    }
}

words! {
    /// Whose money a launch spends.
    Spending {
        /// Each member spends the wallet that credits were assigned to.
        Wallet = "wallet",
        /// Members draw on the team's pool.
        Pool = "pool",
    }
}

impl Preset {
    /// The roles that a member of a team with this preset can have; the first is the owner's.
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Preset::Glows => &[Role::Owner, Role::Admin, Role::Member],
            Preset::Grid => &[Role::Owner, Role::Admin, Role::Collaborator],
            Preset::Novita => &[Role::Owner, Role::Admin, Role::Developer, Role::Basic, Role::Billing],
        }
    }

    /// Whose money a launch spends under this preset.
    pub const fn spending(self) -> Spending {
        match self {
            Preset::Glows => Spending::Wallet,
            Preset::Grid | Preset::Novita => Spending::Pool,
        }
    }
}

impl Role {
    /// Whether the role runs the team: such members get the team drive writable.
    pub const fn runs_the_team(self) -> bool {
        matches!(self, Role::Owner | Role::Admin)
    }
}
