"""The one table of what a secret looks like in text. `redaction.py` applies it; `names.py` has the names of members.

Every pattern takes linear time: repeats are possessive or bounded, and a run whose match may fail starts only where no
earlier attempt has walked over it.
"""

from shared.privacy.forms import (
    ANY,
    CLOSERS,
    COMPOUND,
    DIGIT_NEAR,
    DONE,
    ENCODED_EQUALS,
    ENCODED_VALUE,
    GAP,
    JSON_SPACE,
    LINE,
    NO_CODE,
    PARAMETER,
    PARAMETER_HINTS,
    PARAMETER_VALUE,
    PASSWORD,
    QUOTABLE,
    SEPARATOR,
    SPACE,
    START,
    URL_SPACE,
    VALUE,
    WORD,
    Rule,
    pattern,
    starting,
)
from shared.privacy.judgement import closing_bracket, end_of_value, has_digit, holds_key_body, is_basic_credential, looks_secret
from shared.privacy.names import COMPOUNDS, PASSWORDS, WORDS, alternation

_QUOTE = ("\\", '"', "'")
_ASSIGNS = (" ", "\t", ":", "=")

RULES: tuple[Rule, ...] = (
    # What follows the name of a secret
    Rule(
        "quoted member",
        "RFC 8259 section 4; literals of Python and Ruby",
        pattern(
            rf"""\\{{0,7}}+["']{JSON_SPACE}(?:,{JSON_SPACE}\\{{0,7}}+["']value\\{{0,7}}+["']{JSON_SPACE})?(?::|=>){JSON_SPACE}""",
            r"""(?!\\{0,7}+["']\[redacted\]\\{0,7}+["'])(?:"((?:[^"\\]++|\\.)++)|[bu]?'((?:[^'\\]++|\\.)++)""",
            r"""|\\"((?:[^"\\]++|\\\\(?:\\.|[^\\]))++)|\\{2,7}"((?:[^"\\]++|\\++(?![\\"]))++))""",
        ),
        _QUOTE,
        names=ANY,
    ),
    Rule(
        "bare member",
        "RFC 8259 section 3",
        pattern(
            rf"""(?P<quote>\\{{0,7}}+["']){JSON_SPACE}(?::|=>){JSON_SPACE}""",
            r"(-?+\d[\d.e+-]*+|true|false)(?=[\s,}\]\\]|\Z)",
        ),
        _QUOTE,
        names=ANY,
        quoted=True,
    ),
    Rule(
        "member with members",
        "RFC 8259 sections 4 and 5",
        pattern(rf"""(?P<quote>\\{{0,7}}+["']){JSON_SPACE}(?::|=>){JSON_SPACE}{DONE}([\[{{])"""),
        _QUOTE,
        names=ANY,
        extent=closing_bracket,
        quoted=True,
    ),
    Rule(
        "encoded member",
        "RFC 8259 section 4 under RFC 3986 section 2.1",
        pattern(rf"""%22(?:%20|\+){{0,8}}+(?:%3a|:)(?:%20|\+){{0,8}}+%22{DONE}((?:[^\s&"'%]++|%(?!22))++)"""),
        ("%",),
        names=ANY,
    ),
    Rule(
        "element",
        "XML 1.0 section 3.1",
        pattern(rf">{DONE}([^<>]{{1,4096}}+)</[\w.:-]{{0,40}}?{alternation(*PASSWORDS, *COMPOUNDS, *WORDS)}>"),
        (">",),
        names=ANY,
    ),
    Rule(
        "form part",
        "RFC 7578 section 4.2",
        pattern(rf"""\]?\\?"(?:\r?\n|\\r\\n|\\n){{2}}{DONE}([^\r\n\\]++)(?=\r?\n--|\\r\\n--|\\n--|\Z)"""),
        ("\\", '"', "]"),
        names=ANY,
    ),
    Rule(
        "authorization header",
        "RFC 9110 section 11.6.2",
        pattern(
            rf"(?<=authorization){SPACE}(?:[:=]|%3a|%3d){URL_SPACE}{{0,16}}+{DONE}(?:",
            rf"(?:bearer|basic|token|apikey|api-key|key|negotiate|ntlm|sharedkey|sharedkeylite){URL_SPACE}{{1,16}}+",
            rf"""{DONE}([^\s"'\\,;&]++)""",
            rf"|(?:digest|hawk|oauth|aws4-hmac-sha256|sharedaccesssignature){URL_SPACE}{{1,16}}+{DONE}({LINE}))",
        ),
        (*_ASSIGNS, "%"),
        names=(WORD,),
    ),
    Rule(
        "cookie header",
        "RFC 6265 section 4",
        pattern(rf"""(?<=cookie){SPACE}:{SPACE}{DONE}([^\s=;,"'<>\\()]{{1,256}}+=(?![=>]){LINE})"""),
        (" ", "\t", ":"),
        names=(WORD,),
    ),
    Rule(
        "assignment",
        "learn.microsoft.com/azure/storage/common/storage-configure-connection-string; "
        "postgresql.org/docs/current/libpq-connect.html; application/x-www-form-urlencoded",
        pattern(
            rf"(?:\]|%5d)?(?:=(?![=>~]){DONE}{NO_CODE}((?:{VALUE}++|,(?![\s\"']|[\w.-]{{1,40}}+[=:]|\Z))++)",
            rf"|{ENCODED_EQUALS}{DONE}{ENCODED_VALUE})",
        ),
        ("=", "]", "%"),
        names=ANY,
        trim=CLOSERS,
    ),
    Rule(
        "quoted assignment",
        "learn.microsoft.com/dotnet/framework/data/adonet/connection-string-syntax; shell, YAML and INI files",
        pattern(
            rf"{SPACE}:?=?(?<=[:=]){SPACE}(?:",
            rf"""(?P<double>\\?"){DONE}({QUOTABLE}[^"\r\n<>\\]{{0,255}}+)(?=(?P=double))""",
            rf"""|(?P<single>\\?'){DONE}({QUOTABLE}[^'\r\n<>\\]{{0,255}}+)(?=(?P=single)))""",
        ),
        _ASSIGNS,
        names=(PASSWORD, COMPOUND),
    ),
    Rule(
        "quoted word",
        "shell, YAML and INI files; source code",
        pattern(rf"""{SPACE}:?=?(?<=[:=]){SPACE}\\?["']{DONE}([^\s"'\\<>]{{6,512}}+)(?=\\?["'])"""),
        _ASSIGNS,
        names=(WORD,),
        confirm=looks_secret,
    ),
    Rule(
        "spaced password",
        "YAML 1.2.2 section 7.3.3; INI files",
        pattern(rf"(?:{SPACE}:{GAP}|{GAP}={SPACE}|={GAP}|:(?=[^\s\d:]{{0,63}}+\d)){DIGIT_NEAR}(?=({VALUE}{{6,128}}+))"),
        _ASSIGNS,
        names=(PASSWORD,),
        confirm=looks_secret,
        extent=end_of_value,
        trim=CLOSERS,
    ),
    Rule(
        "spaced key",
        "docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html; YAML 1.2.2 section 7.3.3",
        pattern(rf"(?:{SPACE}:{GAP}|{GAP}={SPACE}|={GAP}){DIGIT_NEAR}(?=({VALUE}{{6,128}}+))"),
        _ASSIGNS,
        names=(COMPOUND,),
        confirm=looks_secret,
        extent=end_of_value,
        trim=CLOSERS,
    ),
    Rule(
        "spaced word",
        "YAML 1.2.2 section 7.3.3; INI files",
        pattern(rf"(?:{SPACE}:{GAP}|{GAP}={SPACE}|={GAP}){DIGIT_NEAR}(?=({VALUE}{{16,128}}+))"),
        _ASSIGNS,
        names=(WORD,),
        confirm=looks_secret,
        extent=end_of_value,
        trim=CLOSERS,
    ),
    # Parameters and headers by their whole name
    Rule(
        "parameter",
        "RFC 3986 section 3.4; learn.microsoft.com/azure/azure-functions/function-keys-how-to (code); "
        "learn.microsoft.com/rest/api/storageservices/create-service-sas (sig)",
        pattern(f"{SEPARATOR}{PARAMETER}(?:={DONE}{PARAMETER_VALUE}|{ENCODED_EQUALS}{DONE}{ENCODED_VALUE})"),
        PARAMETER_HINTS,
        folded=True,
        trim=CLOSERS,
    ),
    Rule(
        "first parameter",
        "url.spec.whatwg.org section 5.1 (application/x-www-form-urlencoded)",
        pattern(
            rf"""\A{PARAMETER}={DONE}(?:([^\s&"'<>\\]++)(?=&[\w%.\[\]-]++=)""",
            r"""|(?=[^\d\s]*+\d)([^\s&"'<>\\]{6,}+)\Z)""",
        ),
        PARAMETER_HINTS,
        folded=True,
    ),
    Rule(
        "shared access signature",
        "learn.microsoft.com/purview/sit-defn-azure-sas",
        pattern(r"(?<![a-z0-9])sig=([a-z0-9%/+_-]{40,}+=?+)"),
        ("sig=",),
        folded=True,
    ),
    Rule(
        "key header",
        "RFC 9110 section 5.1; learn.microsoft.com/azure/azure-functions/function-keys-how-to",
        pattern(
            r"(?:x-(?<![a-z0-9-]x-)|ocp-(?<![a-z0-9-]ocp-))[a-z0-9-]{0,40}?(?:key|token|secret|signature|password|authorization)",
            rf"""{SPACE}:{SPACE}{DONE}([^\s"'\\,;]++)""",
        ),
        ("-key", "-token", "-secret", "-signature", "-password", "-authorization"),
        folded=True,
    ),
    # Credentials
    Rule(
        "credentials in a URL",
        "RFC 3986 section 3.2.1",
        pattern(r"""://([^\s/?#@:"'<>\\]{0,256}+:(?!\[redacted\])[^\s/?#"'<>\\]{1,512})@"""),
        ("://",),
        folded=True,
    ),
    Rule(
        "encoded credentials in a URL",
        "RFC 3986 sections 2.1 and 3.2.1",
        pattern(
            r"""%3a%2f%2f([^\s/?#@:"'<>\\&%]{0,256}+%3a""",
            r"""(?:[^\s/?#@"'<>\\&%]|%(?!2f|3f|23|40)){1,512}+)%40""",
        ),
        ("%3a%2f%2f",),
        folded=True,
    ),
    Rule(
        "bearer credentials",
        "RFC 6750 section 2.1",
        pattern(START, r"[Bb](?:earer|EARER)(?:\s|%20|\+|:){1,8}+([\w.~+/-]{16,}+=*+)"),
        ("earer", "EARER"),
        confirm=lambda value: looks_secret(value.lower()),
    ),
    Rule(
        "basic credentials",
        "RFC 7617 section 2",
        pattern(
            START,
            r"[Bb](?:asic|ASIC)(?: |%20|\+){1,8}+",
            r"(?!(?:[A-Z]?[a-z]++|[A-Z]++)(?![A-Za-z0-9+/=_-]))([A-Za-z0-9+/_-]{4,8192}+={0,2}+)",
        ),
        ("asic", "ASIC"),
        confirm=is_basic_credential,
    ),
    Rule(
        "JSON web token",
        "RFC 7515 section 3.1, RFC 7516 section 3.1, RFC 7519 section 3",
        starting(
            "ey[JA]",
            r"(?=[\w-]{8})(?:[A-Za-z0-9]++|[_-](?!ey[JA]))++",
            r"\.(?:eyJ[\w-]{4,}+(?:\.[\w-]*+)?|[\w-]{8,}+\.[\w-]*+)(?:\.[\w-]++){0,2}",
        ),
        ("eyJ", "eyA"),
    ),
    Rule(
        "private key",
        "RFC 7468 sections 10 and 11; RFC 1421 section 4.4; RFC 9580 section 6.2",
        pattern(
            r"-----BEGIN(?: |\+|%20)(?:[A-Z0-9]{1,16}(?: |\+|%20)){0,3}PRIVATE(?: |\+|%20)KEY(?:(?: |\+|%20)BLOCK)?-----",
            r"""(?:[^-"'<>]++|-(?!----))*+(?:-----END[A-Z0-9 +%]{1,64}+-----)?""",
        ),
        ("PRIVATE",),
        confirm=holds_key_body,
    ),
    # Keys of vendors
    Rule(
        "Azure storage or Cosmos DB key",
        "learn.microsoft.com/purview/sit-defn-azure-storage-account-key-generic",
        pattern(
            r"(?=[A-Za-z0-9+/%])(?:(?<![A-Za-z0-9+/%])|(?<=%[0-9A-Fa-f]{2}))",
            r"(?<![Ss][Hh][Aa]512[-=:])(?<![Ss][Hh][Aa]-512[-=:])(?<!-512=:)(?<!base64,)",
            r"((?:[A-Za-z0-9+/]|%2[BFbf]){86}(?:==|%3[Dd]%3[Dd]))(?![A-Za-z0-9+/=])",
        ),
        ("==", "%3D%3D", "%3d%3d"),
    ),
    Rule(
        "Azure identifiable key",
        "github.com/microsoft/security-utilities (IdentifiableMetadata)",
        pattern(
            r"(?:(?<![A-Za-z0-9+/%_-])|(?<=%[0-9A-Fa-f]{2}))(?:[A-Za-z0-9]{52}JQQJ9[9DH][A-Za-z0-9]{26}(?:[A-Za-z0-9]{2}==)?",
            r"|[\w-]{44}AzFu[\w-]{5}[AQgw]==|[A-Za-z0-9]{42}Az(?:Se|Ca)[A-D][A-Za-z0-9]{5}",
            r"|(?:[A-Za-z0-9/+]|%2[BFbf]){33}(?:(?:\+|%2[Bb])A(?:Sb|Eh|Rm)|AIoT)(?:[A-Za-z0-9/+]|%2[BFbf]){5,6}(?:=|%3[Dd]))",
            r"(?![A-Za-z0-9+/=])",
        ),
        ("JQQJ", "AzFu", "AzSe", "AzCa", "ASb", "AEh", "ARm", "AIoT"),
    ),
    Rule(
        "Entra client secret",
        "learn.microsoft.com/purview/sit-defn-azure-ad-client-secret; github.com/microsoft/security-utilities (SEC101/156)",
        pattern(
            r"(?:(?<![\w~.-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))[\w~.-]{3}\dQ~[\w~.-]{31,34}(?![\w~-])",
        ),
        ("Q~",),
    ),
    Rule(
        "OpenAI key",
        "platform.openai.com/docs/api-reference/authentication",
        starting("sk-", r"(?:[A-Za-z0-9]{32,}+|(?:proj|svcacct|admin|service|None|or-v1)-[\w-]{16,}+)"),
        ("sk-",),
        confirm=has_digit,
    ),
    Rule(
        "Anthropic key",
        "docs.anthropic.com/en/api/overview",
        starting("sk-ant-", r"[\w-]{16,}+"),
        ("sk-ant-",),
    ),
    Rule("xAI key", "docs.x.ai/docs/tutorial", starting("xai-", r"[A-Za-z0-9]{32,}+"), ("xai-",)),
    Rule("Groq key", "console.groq.com/docs/quickstart", starting("gsk_", r"[A-Za-z0-9]{40,}+"), ("gsk_",)),
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
        confirm=has_digit,
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
            r"hooks\.slack(?:-gov)?\.com(?:/|%2[Ff])(?:services|workflows|triggers)(?:/|%2[Ff])([\w/%-]{8,}+)",
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
