"""The rows of the table for keys that vendors made recognisable: by a prefix, a signature inside or their exact length."""

from shared.privacy import judgement
from shared.privacy.forms import Rule, pattern, starting

VENDOR_RULES: tuple[Rule, ...] = (
    Rule(
        "Azure storage or Cosmos DB key",
        "learn.microsoft.com/purview/sit-defn-azure-storage-account-key-generic",
        pattern(
            r"(?=[A-Za-z0-9+/])(?<![A-Za-z0-9+/])",
            r"(?<![Ss][Hh][Aa]512[-=:])(?<![Ss][Hh][Aa]-512[-=:])(?<!-512=:)(?<!base64,)",
            r"([A-Za-z0-9+/]{86}==)(?!=)",
        ),
        ("==",),
    ),
    Rule(
        "Azure identifiable key",
        "github.com/microsoft/security-utilities (IdentifiableMetadata)",
        pattern(
            r"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9]{52}JQQJ9[9DH][A-Za-z0-9]{26}(?:[A-Za-z0-9]{2}==)?(?![A-Za-z0-9+/=])",
            r"|[A-Za-z0-9]{42}Az(?:Se|Ca)[A-D][A-Za-z0-9]{5}(?![A-Za-z0-9+/=])|[\w-]{44}AzFu[\w-]{5}[AQgw]==(?!=)",
            r"|[A-Za-z0-9/+]{33}(?:\+A(?:Sb|Eh|Rm)|AIoT)[A-Za-z0-9/+]{5,6}=(?!=))",
        ),
        ("JQQJ", "AzFu", "AzSe", "AzCa", "ASb", "AEh", "ARm", "AIoT"),
    ),
    Rule(
        "Entra client secret",
        "learn.microsoft.com/purview/sit-defn-azure-ad-client-secret; github.com/microsoft/security-utilities (SEC101/156)",
        pattern(
            r"(?:(?<![\w~.-])|(?<=\\[nrt]))[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~-])",
        ),
        ("Q~",),
    ),
    Rule(
        "OpenAI key",
        "platform.openai.com/docs/api-reference/authentication",
        starting("sk-", r"(?:[A-Za-z0-9]{32,}+|(?:proj|svcacct|admin|service|None|or-v1)-[\w-]{16,}+)"),
        ("sk-",),
        confirm=judgement.has_digit,
    ),
    Rule(
        "Anthropic key",
        "docs.anthropic.com/en/api/overview",
        starting("sk-ant-", r"[\w-]{16,}+"),
        ("sk-ant-",),
    ),
    Rule("xAI key", "docs.x.ai/docs/tutorial", starting("xai-", r"[A-Za-z0-9]{32,}+"), ("xai-",)),
    Rule(
        "Replicate token",
        "replicate.com/docs/topics/security/api-tokens",
        starting("r8_", r"[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
        ("r8_",),
    ),
    Rule(
        "AWS access key id",
        "docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html",
        starting("A[KS]IA", r"[A-Z0-9]{16}(?![A-Za-z0-9+/=])"),
        ("AKIA", "ASIA"),
    ),
    Rule(
        "GitHub token",
        "docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
        starting("gh[pousr]_", r"[A-Za-z0-9]{30,}+"),
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    ),
    Rule(
        "GitHub fine-grained token",
        "docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github",
        starting("github_pat_", r"\w{22,}+"),
        ("github_pat_",),
    ),
    Rule(
        "GitLab token",
        "docs.gitlab.com/security/tokens (token prefixes)",
        starting("gl", r"(?:pat|oas|dt|rt|cbt|ptt|ft|soat|agent)-[\w-]{20,}+(?:\.[\w-]++){0,2}"),
        ("glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glagent-"),
    ),
    Rule(
        "Slack token",
        "docs.slack.dev/authentication/tokens",
        starting("xox[abeprs]", r"(?:\.xox[bp])?-[A-Za-z0-9-]{10,}+"),
        ("xox",),
        confirm=judgement.has_digit,
    ),
    Rule(
        "Slack app token",
        "docs.slack.dev/authentication/tokens",
        starting("xapp-", r"\d-[A-Za-z0-9-]{10,}+"),
        ("xapp-",),
    ),
    Rule(
        "Slack webhook",
        "docs.slack.dev/messaging/sending-messages-using-incoming-webhooks",
        pattern(
            r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/([\w/-]{8,}+)",
        ),
        ("hooks.slack",),
    ),
    Rule(
        "Stripe key",
        "docs.stripe.com/keys",
        starting("[sr]k_(?:live|test)_", r"[A-Za-z0-9]{10,}+"),
        ("k_live_", "k_test_"),
    ),
    Rule(
        "Stripe webhook secret",
        "docs.stripe.com/webhooks/signature",
        starting("whsec_", r"[A-Za-z0-9+/]{20,}+={0,2}+"),
        ("whsec_",),
    ),
    Rule(
        "Hugging Face token",
        "huggingface.co/docs/hub/security-tokens",
        starting("hf_", r"[A-Za-z0-9]{30,}+"),
        ("hf_",),
    ),
    Rule(
        "Google API key",
        "cloud.google.com/docs/authentication/api-keys",
        starting("AIza", r"[\w-]{35}(?![\w-])"),
        ("AIza",),
    ),
    Rule(
        "Google OAuth token",
        "developers.google.com/identity/protocols/oauth2",
        starting(r"ya29\.", r"[\w-]{20,}+(?:\.[\w-]++){0,2}"),
        ("ya29.",),
    ),
    Rule(
        "Google client secret",
        "developers.google.com/identity/protocols/oauth2",
        starting("GOCSPX-", r"[\w-]{20,}+"),
        ("GOCSPX-",),
    ),
)
