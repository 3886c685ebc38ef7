//! Every action that a request can be: one per route, named as the route's `operationId` with a capital letter.
//!
//! An action belongs to one group `<kind>:<verb>`; `policies/schema.cedarschema` repeats the table and a test compares
//! the two. Groups may exist there without an action: they are rows of the permission matrix for nouns to come.

/// What the actions of a group do to their resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Looks, changes nothing.
    View,
    /// Enters a running thing: a shell, a notebook, its credentials.
    Use,
    /// Changes something.
    Write,
}

impl Verb {
    /// The word after the colon of a group's name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Use => "use",
            Self::Write => "write",
        }
    }

    /// The one that the word names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::View, Self::Use, Self::Write].into_iter().find(|verb| verb.word() == word)
    }
}

macro_rules! actions {
    ($($variant:ident = $operation:literal in $kind:literal $verb:ident;)*) => {
        /// An action that a route asks leave for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each name is its route's operationId; the OpenAPI document describes them")]
        pub enum Action { $($variant,)* }

        impl Action {
            /// All actions.
            pub const ALL: &'static [Action] = &[$(Action::$variant,)*];

            /// The Cedar id: `CreateInstance`.
            pub const fn name(self) -> &'static str {
                match self { $(Action::$variant => stringify!($variant),)* }
            }

            /// The route's operationId: `createInstance`.
            pub const fn operation(self) -> &'static str {
                match self { $(Action::$variant => $operation,)* }
            }

            /// The resource kind of the group that the action belongs to.
            pub const fn kind(self) -> &'static str {
                match self { $(Action::$variant => $kind,)* }
            }

            /// The verb of the group that the action belongs to.
            pub const fn verb(self) -> Verb {
                match self { $(Action::$variant => Verb::$verb,)* }
            }
        }
    };
}

actions! {
    // Anybody, signed in or not.
    Login = "login" in "door" Use;
    TeamLogin = "teamLogin" in "door" Use;
    ClaimOperator = "claimOperator" in "door" Use;
    ReceiveProviderEvent = "receiveProviderEvent" in "door" Use;
    // Whoever is signed in, about themselves.
    GetMe = "getMe" in "profile" View;
    ListMyTeams = "listMyTeams" in "profile" View;
    LinkMember = "linkMember" in "profile" Write;
    ChangePassword = "changePassword" in "password" Write;
    Logout = "logout" in "password" Write;
    ListMySessions = "listMySessions" in "profile" View;
    RevokeMySession = "revokeMySession" in "profile" Write;
    CreateTeam = "createTeam" in "own_team" Write;
    // The operator's site.
    CreateUser = "createUser" in "user" Write;
    ListUsers = "listUsers" in "user" View;
    ResetUserPassword = "resetUserPassword" in "user" Write;
    ListTeams = "listTeams" in "site" View;
    PutTeamCeiling = "putTeamCeiling" in "site" Write;
    ListSiteAuditEvents = "listSiteAuditEvents" in "site" View;
    ExportSiteAuditEvents = "exportSiteAuditEvents" in "site" View;
    VerifySiteAuditLog = "verifySiteAuditLog" in "site" View;
    ListTeamRequests = "listTeamRequests" in "site" View;
    ApproveTeamRequest = "approveTeamRequest" in "site" Write;
    RefuseTeamRequest = "refuseTeamRequest" in "site" Write;
    CreateHost = "createHost" in "host" Write;
    ListHosts = "listHosts" in "host" View;
    GetHost = "getHost" in "host" View;
    ProbeHost = "probeHost" in "host" Write;
    CordonHost = "cordonHost" in "host" Write;
    UncordonHost = "uncordonHost" in "host" Write;
    RetireHost = "retireHost" in "host" Write;
    ListAccelerators = "listAccelerators" in "host" View;
    CreateProduct = "createProduct" in "product" Write;
    ListProducts = "listProducts" in "product" View;
    UpdateProduct = "updateProduct" in "product" Write;
    PutStorageRate = "putStorageRate" in "product" Write;
    ListStorageRates = "listStorageRates" in "product" View;
    ActivateSitePrice = "activateSitePrice" in "product" Write;
    ListSitePrices = "listSitePrices" in "product" View;
    CreateImage = "createImage" in "site_image" Write;
    ListImages = "listImages" in "site_image" View;
    UpdateImage = "updateImage" in "site_image" Write;
    GrantCredits = "grantCredits" in "site_credit" Write;
    ConfirmTopUp = "confirmTopUp" in "site_credit" Write;
    RefuseTopUp = "refuseTopUp" in "site_credit" Write;
    RefundTopUp = "refundTopUp" in "site_credit" Write;
    DisputeTopUp = "disputeTopUp" in "site_credit" Write;
    GiveGoodwill = "giveGoodwill" in "site_credit" Write;
    WriteOffDebt = "writeOffDebt" in "site_credit" Write;
    CreateVouchers = "createVouchers" in "site_credit" Write;
    ListVouchers = "listVouchers" in "site_credit" View;
    RevokeVoucher = "revokeVoucher" in "site_credit" Write;
    CorrectCharges = "correctCharges" in "site_credit" Write;
    PutTeamCreditLimit = "putTeamCreditLimit" in "site_credit" Write;
    VerifyLedger = "verifyLedger" in "site" View;
    ExportLedger = "exportLedger" in "site" View;
    // A team and its people.
    GetTeam = "getTeam" in "team" View;
    UpdateTeam = "updateTeam" in "team" Write;
    ListMembers = "listMembers" in "member" View;
    GetMember = "getMember" in "member" View;
    CreateMember = "createMember" in "member" Write;
    UpdateMember = "updateMember" in "member" Write;
    RemoveMember = "removeMember" in "member" Write;
    ResetMemberPassword = "resetMemberPassword" in "member" Write;
    GetMemberPermissions = "getMemberPermissions" in "permission" View;
    GetTeamQuota = "getTeamQuota" in "permission" View;
    PutTeamQuota = "putTeamQuota" in "permission" Write;
    GetMemberQuota = "getMemberQuota" in "permission" View;
    PutMemberQuota = "putMemberQuota" in "permission" Write;
    PutTemporaryQuota = "putTemporaryQuota" in "permission" Write;
    EndTemporaryQuota = "endTemporaryQuota" in "permission" Write;
    ListTeamQuotaChanges = "listTeamQuotaChanges" in "permission" View;
    ListMemberQuotaChanges = "listMemberQuotaChanges" in "permission" View;
    CreateRequest = "createRequest" in "request" Write;
    ListRequests = "listRequests" in "request" View;
    GetRequest = "getRequest" in "request" View;
    CancelRequest = "cancelRequest" in "request" Write;
    ApproveRequest = "approveRequest" in "request_decision" Write;
    RefuseRequest = "refuseRequest" in "request_decision" Write;
    CreateTeamRequest = "createTeamRequest" in "quota_request" Write;
    CreateApiKey = "createApiKey" in "api_key" Write;
    ListApiKeys = "listApiKeys" in "api_key" View;
    RevokeApiKey = "revokeApiKey" in "api_key" Write;
    ListAuditEvents = "listAuditEvents" in "audit_log" View;
    ExportAuditEvents = "exportAuditEvents" in "audit_log" View;
    VerifyAuditLog = "verifyAuditLog" in "audit_log" View;
    // The team's own policies.
    GetPolicies = "getPolicies" in "policy" View;
    ListPolicyVersions = "listPolicyVersions" in "policy" View;
    GetPolicyVersion = "getPolicyVersion" in "policy" View;
    DiffPolicies = "diffPolicies" in "policy" View;
    Authorize = "authorize" in "policy" View;
    ExplainDecision = "explainDecision" in "policy" View;
    PlanPolicies = "planPolicies" in "policy" Write;
    ReplayPolicies = "replayPolicies" in "policy" Write;
    ProvePolicies = "provePolicies" in "policy" Write;
    PublishPolicies = "publishPolicies" in "policy" Write;
    StartPolicyShadow = "startPolicyShadow" in "policy" Write;
    GetPolicyShadow = "getPolicyShadow" in "policy" View;
    StopPolicyShadow = "stopPolicyShadow" in "policy" Write;
    // Money.
    GetBalance = "getBalance" in "balance" View;
    ListLots = "listLots" in "balance" View;
    AssignCredits = "assignCredits" in "balance" Write;
    ReclaimCredits = "reclaimCredits" in "balance" Write;
    CreateBudget = "createBudget" in "budget" Write;
    ListBudgets = "listBudgets" in "budget" View;
    GetBudget = "getBudget" in "budget" View;
    UpdateBudget = "updateBudget" in "budget" Write;
    EndBudget = "endBudget" in "budget" Write;
    GetTeamTerms = "getTeamTerms" in "billing_details" View;
    PutTeamTerms = "putTeamTerms" in "billing_details" Write;
    CreateAlert = "createAlert" in "balance_alert" Write;
    ListAlerts = "listAlerts" in "balance_alert" View;
    DeleteAlert = "deleteAlert" in "balance_alert" Write;
    CreateWebhook = "createWebhook" in "webhook" Write;
    ListWebhooks = "listWebhooks" in "webhook" View;
    GetWebhook = "getWebhook" in "webhook" View;
    UpdateWebhook = "updateWebhook" in "webhook" Write;
    DeleteWebhook = "deleteWebhook" in "webhook" Write;
    TestWebhook = "testWebhook" in "webhook" Use;
    ListDeliveries = "listDeliveries" in "webhook" View;
    RetryDelivery = "retryDelivery" in "webhook" Write;
    CreateTopUp = "createTopUp" in "top_up" Write;
    ListTopUps = "listTopUps" in "top_up" View;
    GetAutoTopUp = "getAutoTopUp" in "auto_top_up" View;
    PutAutoTopUp = "putAutoTopUp" in "auto_top_up" Write;
    RemoveAutoTopUp = "removeAutoTopUp" in "auto_top_up" Write;
    RedeemVoucher = "redeemVoucher" in "voucher" Write;
    ListVoucherRedemptions = "listVoucherRedemptions" in "voucher" View;
    ListTransactions = "listTransactions" in "transaction" View;
    ListBills = "listBills" in "bill" View;
    ListStatements = "listStatements" in "bill" View;
    GetStatement = "getStatement" in "bill" View;
    ListCreditNotes = "listCreditNotes" in "bill" View;
    ExportCosts = "exportCosts" in "bill" View;
    GetCharge = "getCharge" in "bill" View;
    GetChargeProof = "getChargeProof" in "bill" View;
    GetComponent = "getComponent" in "bill" View;
    ReRateCharges = "reRateCharges" in "bill" Write;
    ListPrices = "listPrices" in "price" View;
    ActivatePrice = "activatePrice" in "price" Write;
    RollBackPrice = "rollBackPrice" in "price" Write;
    ReplayPrice = "replayPrice" in "price" Write;
    ListPriceReplays = "listPriceReplays" in "price" Write;
    UploadPlugin = "uploadPlugin" in "plugin" Write;
    ListPlugins = "listPlugins" in "plugin" View;
    GetPlugin = "getPlugin" in "plugin" View;
    // What can be had, and what runs.
    ListCatalog = "listCatalog" in "catalog" View;
    CreateEstimate = "createEstimate" in "catalog" View;
    CreateInstance = "createInstance" in "instance" Write;
    ListInstances = "listInstances" in "instance" View;
    GetInstance = "getInstance" in "instance" View;
    StopInstance = "stopInstance" in "instance" Write;
    StartInstance = "startInstance" in "instance" Write;
    ReleaseInstance = "releaseInstance" in "instance" Write;
    GetInstanceAccess = "getInstanceAccess" in "instance" Use;
    GetInstanceLogs = "getInstanceLogs" in "instance" View;
    GetInstanceMetrics = "getInstanceMetrics" in "instance" View;
    GetInstanceBilling = "getInstanceBilling" in "instance" View;
    GetInstanceConfig = "getInstanceConfig" in "instance" View;
    GetInstanceHardware = "getInstanceHardware" in "instance" View;
    CreateSnapshot = "createSnapshot" in "snapshot" Write;
    ListSnapshots = "listSnapshots" in "snapshot" View;
    GetSnapshot = "getSnapshot" in "snapshot" View;
    ShareSnapshot = "shareSnapshot" in "snapshot" Write;
    DeleteSnapshot = "deleteSnapshot" in "snapshot" Write;
    ListDrives = "listDrives" in "storage" View;
}
