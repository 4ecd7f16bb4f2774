"""The one table of what a secret looks like in text. `redaction.py` applies it; `names.py` has the names of members.

Every pattern takes linear time: repeats are possessive or bounded, and a run whose match may fail starts only where no
earlier attempt has walked over it.
"""

from shared.privacy import judgement
from shared.privacy.forms import (
    ANY,
    CLOSERS,
    COMPOUND,
    COOKIE_NAME,
    COOKIE_VALUE,
    DIGIT_NEAR,
    DONE,
    GAP,
    JSON_SPACE,
    LINE,
    MEMBER_VALUE,
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
    many,
    pattern,
    starting,
)
from shared.privacy.names import COMPOUNDS, PASSWORDS, WORDS, alternation
from shared.privacy.vendors import VENDOR_RULES

_QUOTE = ("\\", '"', "'")
_LISTED_VALUE = many(rf"{VALUE}++", r""",(?![\s"']|[\w.-]{1,40}+[=:]|\Z)""")
_ASSIGNS = (" ", "\t", ":", "=")

RULES: tuple[Rule, ...] = (
    # What follows the name of a secret
    Rule(
        "quoted member",
        "RFC 8259 section 4; literals of Python and Ruby",
        pattern(
            rf"""\\{{0,7}}+["']{JSON_SPACE}(?:,{JSON_SPACE}\\{{0,7}}+["']value\\{{0,7}}+["']{JSON_SPACE})?(?::|=>){JSON_SPACE}""",
            r"""(?!\\{0,7}+["']\[redacted\]\\{0,7}+(?:["']|\Z))""",
            MEMBER_VALUE,
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
        extent=judgement.closing_bracket,
        quoted=True,
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
        pattern(rf"""\]?\\?"(?:\r?\n|\\r\\n|\\n){{2}}{DONE}([^\r\n\\]++)(?=\r?\n--|\\r\\n--|\\n--)"""),
        ("\\", '"', "]"),
        names=ANY,
    ),
    Rule(
        "authorization header",
        "RFC 9110 section 11.6.2",
        pattern(
            rf"(?<=authorization){SPACE}[:=]{URL_SPACE}{{0,16}}+{DONE}(?:",
            r"(?:bearer|basic|apikey|api-key|negotiate|ntlm|sharedkey|sharedkeylite|(?:token|key)(?=\s{1,16}+[^\s\d]{0,63}+\d))",
            rf"{URL_SPACE}{{1,16}}+",
            rf"""{DONE}([^\s"'\\,;&]++)""",
            rf"|((?:digest|hawk|oauth|aws4-hmac-sha256|sharedaccesssignature){URL_SPACE}{{1,16}}+{LINE}))",
        ),
        _ASSIGNS,
        names=(WORD,),
    ),
    Rule(
        "cookie header",
        "RFC 6265 section 4",
        pattern(
            r"""(?:(?<=set[-_]cookie)|(?<=setcookie)|(?<=\r\ncookie)|(?<=\\r\\ncookie)""",
            r"""|(?<=-h ['"]cookie)|(?<=header ['"]cookie)""",
            rf"""|(?<=cookie)(?={SPACE}:{SPACE}{COOKIE_NAME}=(?:{COOKIE_VALUE}{{8}}|[^\s\d;&]{{1,8}}+\d""",
            rf"""|\d{{1,8}}+[a-z]{{1,8}}+\d|{COOKIE_VALUE}{{0,8}}+;[ ]?{COOKIE_NAME}=)))""",
            rf"""{SPACE}:{SPACE}{DONE}({COOKIE_NAME}=(?![=>]){LINE})""",
        ),
        (" ", "\t", ":"),
        names=(WORD,),
    ),
    Rule(
        "assignment",
        "learn.microsoft.com/azure/storage/common/storage-configure-connection-string; "
        "postgresql.org/docs/current/libpq-connect.html; application/x-www-form-urlencoded",
        pattern(rf"\]?=(?![=>~]){DONE}{NO_CODE}({_LISTED_VALUE})"),
        ("=", "]"),
        names=ANY,
        trim=CLOSERS,
    ),
    Rule(
        "quoted assignment",
        "learn.microsoft.com/dotnet/framework/data/adonet/connection-string-syntax; shell, YAML and INI files",
        pattern(
            rf"(?:{SPACE}:?=|(?<!word)(?<!wd)(?<!phrase){SPACE}:){SPACE}(?:",
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
        names=(PASSWORD, WORD),
        confirm=judgement.looks_secret,
    ),
    Rule(
        "spaced password",
        "YAML 1.2.2 section 7.3.3; INI files",
        pattern(rf"(?:{SPACE}:{GAP}|{GAP}={SPACE}|={GAP}|:(?=[^\s\d:]{{0,63}}+\d)){DIGIT_NEAR}(?=({VALUE}{{6,128}}+))"),
        _ASSIGNS,
        names=(PASSWORD,),
        confirm=judgement.looks_secret,
        extent=judgement.end_of_value,
        trim=CLOSERS,
    ),
    Rule(
        "spaced key",
        "docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html; YAML 1.2.2 section 7.3.3",
        pattern(rf"(?:{SPACE}:{GAP}|{GAP}={SPACE}|={GAP}){DIGIT_NEAR}(?=({VALUE}{{6,128}}+))"),
        _ASSIGNS,
        names=(COMPOUND,),
        confirm=judgement.looks_secret,
        extent=judgement.end_of_value,
        trim=CLOSERS,
    ),
    Rule(
        "spaced word",
        "YAML 1.2.2 section 7.3.3; INI files",
        pattern(rf"(?:{SPACE}:{GAP}|{GAP}={SPACE}|={GAP}){DIGIT_NEAR}(?=({VALUE}{{16,128}}+))"),
        _ASSIGNS,
        names=(WORD,),
        confirm=judgement.looks_secret,
        extent=judgement.end_of_value,
        trim=CLOSERS,
    ),
    # Parameters and headers by their whole name
    Rule(
        "parameter",
        "RFC 3986 section 3.4; learn.microsoft.com/azure/azure-functions/function-keys-how-to (code); "
        "learn.microsoft.com/rest/api/storageservices/create-service-sas (sig)",
        pattern(SEPARATOR, PARAMETER, "=", DONE, PARAMETER_VALUE),
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
    # Arguments of commands
    Rule(
        "option",
        "pubs.opengroup.org/onlinepubs/9799919799 (Base Definitions, 12.2); GNU Coding Standards section 4.8",
        pattern(
            rf"--(?<![\w-]--)[A-Za-z0-9_-]{{0,40}}?(?i:{alternation(*PASSWORDS, *COMPOUNDS, *WORDS)})",
            r"""[ \t]{1,16}+(?=\\{0,7}+["']?(?!\[REDACTED\]|\$[\w({]))""",
            r"""(?:\\{0,7}+["']([^\s"'`\\<>]{4,512}+)|([^\s&;"'`\\<>]{4,512}+))""",
        ),
        ("--",),
        confirm=judgement.is_argument,
        trim=CLOSERS,
    ),
    Rule(
        "user option",
        "curl.se/docs/manpage.html (-u, -U)",
        pattern(
            r"-(?<![\w-]-)(?:[uU]|-(?:proxy-)?user(?=[ \t=]))(?:[ \t]{1,16}+|=)",
            r"""\\{0,7}+["']?[^\s"'`\\<>:/]{1,256}+:(?!\[REDACTED\]|\$[\w({])([^\s"'`\\<>:]{4,512}+)""",
        ),
        ("-u", "-U", "-user"),
        confirm=judgement.is_argument,
        trim=CLOSERS,
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
        "bearer credentials",
        "RFC 6750 section 2.1",
        pattern(START, r"[Bb](?:earer|EARER)[\s+:]{1,8}+([\w.~+/-]{10,}+=*+)"),
        ("earer", "EARER"),
        confirm=judgement.is_bearer_token,
    ),
    Rule(
        "basic credentials",
        "RFC 7617 section 2",
        pattern(
            START,
            r"[Bb](?:asic|ASIC)[ +]{1,8}+",
            r"(?!(?:[A-Z]?[a-z]++|[A-Z]++)(?![A-Za-z0-9+/=_-]))([A-Za-z0-9+/_-]{4,8192}+={0,2}+)",
        ),
        ("asic", "ASIC"),
        confirm=judgement.is_basic_credential,
    ),
    Rule(
        "JSON web token",
        "RFC 7515 section 3.1, RFC 7516 section 3.1, RFC 7519 section 3",
        starting(
            "ey[JA]",
            r"(?=[\w-]{8})",
            many("[A-Za-z0-9]++", "[_-](?!ey[JA])"),
            r"\.(?:eyJ[\w-]{4,}+(?:\.[\w-]*+)?|(?:[\w-]{8,}+)?\.[\w-]*+)(?:\.[\w-]++){0,2}",
        ),
        ("eyJ", "eyA"),
    ),
    Rule(
        "private key",
        "RFC 7468 sections 10 and 11; RFC 1421 section 4.4; RFC 9580 section 6.2",
        pattern(
            r"-----BEGIN[ +](?:[A-Z0-9]{1,16}[ +]){0,3}PRIVATE[ +]KEY(?:[ +]BLOCK)?-----",
            many(r"""[^-"'<>\\]++""", "-(?!----)", r"""\\++(?!["'])""", least=0),
            r"(?:-----END[A-Z0-9 +%]{1,64}+-----)?",
        ),
        ("PRIVATE",),
        confirm=judgement.holds_key_body,
    ),
    *VENDOR_RULES,
)
