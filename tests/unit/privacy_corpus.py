"""What the privacy tests feed on: made-up secrets of every kind, and texts that look like secrets and are none.

Nothing here was ever a credential: keys are drawn from a seeded generator behind a vendor's public prefix.
"""

import base64
import random
import string
from typing import NamedTuple

_ALPHANUMERIC = string.ascii_letters + string.digits
_URL_SAFE = _ALPHANUMERIC + "-_"
_BASE64 = _ALPHANUMERIC + "+/"
_HEX = "0123456789abcdef"
_random = random.Random(20240101)


def _key(prefix: str, length: int, alphabet: str = _ALPHANUMERIC) -> str:
    return prefix + "a1" + "".join(_random.choices(alphabet, k=length - 2))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _pem(label: str) -> str:
    lines = "\n".join(_key("", 64, _BASE64) for _ in range(4))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----"


class Secret(NamedTuple):
    """A text, and the part of it that must not be stored."""

    kind: str
    text: str
    secret: str


def _whole(kind: str, text: str) -> Secret:
    return Secret(kind, text, text)


_JWT = ".".join(
    (_encoded('{"alg":"HS256","typ":"JWT"}').rstrip("="), _encoded('{"sub":"1"}').rstrip("="), _key("", 43, _URL_SAFE))
)
_JWE = ".".join(
    (_encoded('{"alg":"dir","enc":"A256GCM"}').rstrip("="), "", *(_key("", size, _URL_SAFE) for size in (16, 60, 22)))
)
_STORAGE_KEY = _key("", 86, _BASE64) + "=="
_COSMOS_KEY = _key("", 76, _BASE64) + "ACDbaaaaaa" + "=="
_BUS_KEY = _key("", 43, _BASE64) + "="
_SIGNATURE = _key("", 43, _ALPHANUMERIC) + "%3D"

SECRETS: tuple[Secret, ...] = (
    Secret("bearer", "Bearer " + (token := _key("", 40)), token),
    Secret("bearer lower case", "bearer " + (token := _key("", 32, _HEX)), token),
    Secret("bearer without digits", "Bearer " + (token := "qWeRtYuIoPaSdFgHjKlZxCvB"), token),
    Secret("bearer uuid", "Bearer " + (token := "7c9e6679-7425-40de-944b-e07fc1f90ae7"), token),
    Secret("basic", "Basic " + (token := _encoded("user:hunter2")), token),
    Secret("basic lower case", "basic " + (token := _encoded("admin:correct horse")), token),
    Secret("authorization bearer", "Authorization: Bearer " + (token := "opaque"), token),
    Secret("authorization basic", "Authorization: Basic " + (token := "QQQQ"), token),
    Secret("authorization digest", f'Authorization: Digest username="bob", response="{(token := _key("", 32, _HEX))}"', token),
    Secret(
        "authorization signature",
        "authorization: AWS4-HMAC-SHA256 Credential=x, Signature=" + (token := _key("", 64, _HEX)),
        token,
    ),
    Secret("proxy authorization", "Proxy-Authorization: Basic " + (token := _encoded("proxy:pass")), token),
    _whole("jwt", _JWT),
    _whole("jwe", _JWE),
    _whole("jwt unsigned", ".".join((_encoded('{"alg":"none"}').rstrip("="), _encoded('{"sub":"2"}').rstrip("="), ""))),
    Secret("jwt behind a name", "id_" + _JWT, _JWT),
    _whole("pem", _pem("PRIVATE KEY")),
    _whole("pem rsa", _pem("RSA PRIVATE KEY")),
    _whole("pem openssh", _pem("OPENSSH PRIVATE KEY")),
    _whole("pem encrypted", _pem("ENCRYPTED PRIVATE KEY")),
    _whole("pgp", _pem("PGP PRIVATE KEY BLOCK")),
    Secret("pem cut off", (token := "-----BEGIN EC PRIVATE KEY-----\n" + _key("", 64, _BASE64)), token),
    _whole("azure storage key", _STORAGE_KEY),
    _whole("cosmos key", _COSMOS_KEY),
    _whole("azure openai key", _key("", 52) + "JQQJ99" + _key("", 26)),
    _whole("azure function key", _key("", 44, _URL_SAFE) + "AzFu" + "abcde" + "A=="),
    _whole("azure search key", _key("", 42) + "AzSe" + "A" + "b1c2d"),
    _whole("service bus key", _key("", 33, _ALPHANUMERIC) + "+ASb" + "abc123" + "="),
    _whole("entra client secret", "ab1" + "8" + "Q~" + _key("", 34, _ALPHANUMERIC + "_~.-")),
    Secret("sas url", f"https://x.blob.core.windows.net/c/b.png?sv=2022-11-02&sr=b&sig={_SIGNATURE}&se=2024-01-01", _SIGNATURE),
    Secret("sas token", f"sv=2022-11-02&ss=b&srt=o&sp=r&sig={_SIGNATURE}", _SIGNATURE),
    Secret("sas first", f"SharedAccessSignature sig={_SIGNATURE}&se=1700000000&skn=root", _SIGNATURE),
    Secret(
        "storage connection string",
        f"DefaultEndpointsProtocol=https;AccountName=logos;AccountKey={_STORAGE_KEY};EndpointSuffix=core.windows.net",
        _STORAGE_KEY,
    ),
    Secret(
        "cosmos connection string", f"AccountEndpoint=https://x.documents.azure.com:443/;AccountKey={_COSMOS_KEY};", _COSMOS_KEY
    ),
    Secret(
        "service bus connection string",
        f"Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey={_BUS_KEY}",
        _BUS_KEY,
    ),
    Secret("sql connection string", "Server=tcp:db,1433;Database=x;User ID=app;Password=Tr0ub4dor&;Encrypt=True", "Tr0ub4dor"),
    Secret("sql connection string quoted", "Server=db;Uid=app;Pwd='s3c ret;x';Encrypt=True", "s3c ret;x"),
    Secret("libpq", "host=db port=5432 user=app password=hunter2 sslmode=require", "hunter2"),
    Secret("postgresql url", "postgresql://app:hunter2@db.example.com:5432/logos", "hunter2"),
    Secret("mongodb url", "mongodb+srv://app:p%40ss%3Aw0rd@cluster0.example.net/logos", "p%40ss%3Aw0rd"),
    Secret("redis url", "rediss://:hunter2secret@cache.example.com:6380/0", "hunter2secret"),
    Secret("https userinfo", "https://deploy:hunter2@git.example.com/x.git", "hunter2"),
    Secret("amqp userinfo", "amqp://guest:gu3st!@mq:5672/%2F", "gu3st!"),
    _whole("openai", _key("sk-", 48)),
    _whole("openai project", _key("sk-" + "proj-", 120, _URL_SAFE)),
    _whole("openai service account", _key("sk-" + "svcacct-", 60, _URL_SAFE)),
    _whole("anthropic", _key("sk-" + "ant-api03-", 93, _URL_SAFE) + "AA"),
    _whole("openrouter", _key("sk-" + "or-v1-", 64, _HEX)),
    _whole("xai", _key("xai" + "-", 80)),
    _whole("replicate", _key("r8" + "_", 37)),
    _whole("aws access key id", "AK" + "IA" + "IOSFODNN7" + "ABCDEFG"),
    _whole("aws session key id", "AS" + "IA" + "Y34FZKBOK" + "MUTVV7A"),
    Secret("aws secret key", "aws_secret_access_key = " + (token := _key("", 40, _BASE64)), token),
    Secret("aws secret key in an environment", "AWS_SECRET_ACCESS_KEY=" + (token := _key("", 40, _BASE64)), token),
    _whole("github classic", _key("gh" + "p_", 36)),
    _whole("github oauth", _key("gh" + "o_", 36)),
    _whole("github server", _key("gh" + "s_", 36)),
    _whole("github user", _key("gh" + "u_", 36)),
    _whole("github refresh", _key("gh" + "r_", 76)),
    _whole("github fine-grained", _key("github" + "_pat_", 82, _ALPHANUMERIC + "_")),
    _whole("gitlab", _key("gl" + "pat-", 20, _URL_SAFE)),
    _whole("gitlab runner", _key("gl" + "rt-", 20, _URL_SAFE)),
    _whole("slack bot", "xox" + "b-123456789012-1234567890123-" + _key("", 24)),
    _whole("slack user", "xox" + "p-123456789012-123456789012-" + _key("", 32, _HEX)),
    _whole("slack app", "xa" + "pp-1-A012ABCDEFG-1234567890-" + _key("", 64, _HEX)),
    Secret("slack webhook", "https://hooks.slack.com/services/" + (token := "T00AA00AA/B00BB00BB/" + _key("", 24)), token),
    _whole("stripe secret", _key("sk" + "_live_", 24)),
    _whole("stripe restricted", _key("rk" + "_live_", 24)),
    _whole("stripe webhook", _key("wh" + "sec_", 32)),
    _whole("hugging face", _key("hf" + "_", 34)),
    _whole("google api key", _key("AI" + "za", 35, _URL_SAFE)),
    _whole("google oauth", _key("ya" + "29.", 120, _URL_SAFE)),
    _whole("google client secret", _key("GOC" + "SPX-", 28, _URL_SAFE)),
    Secret("function key in a url", "https://f.azurewebsites.net/api/logos?code=" + (token := _key("", 40)), token),
    Secret("key parameter", "https://maps.example.com/v1?q=oslo&key=" + (token := "k3y"), token),
    Secret("token parameter", "/callback?state=1&token=" + (token := "ring"), token),
    Secret("fragment", "https://app.example.com/#access_token=" + (token := _key("", 20)), token),
    Secret("nested url", "/login?next=https%3A%2F%2Fx.com%2F%3Fcode%3D" + (token := "abc") + "%26a%3D1", "code%3D" + token),
    Secret("html url", '<a href="/x?a=1&amp;api_key=' + (token := "zzz") + '">x</a>', "api_key=" + token),
    Secret("form", "username=bob&password=" + (token := "hunter2") + "&remember=1", token),
    Secret("form with brackets", "user[name]=bob&user[password]=" + (token := "hunter2"), token),
    Secret("json text", '{"user":"bob","password":"hunter2"}', "hunter2"),
    Secret("json text nested", r'{"body":"{\"apiKey\":\"hun\\\"ter2\"}"}', "ter2"),
    Secret("json number", '{"pin_token": 918273, "a": 1}', "918273"),
    Secret("json object", '{"cookies": {"sid": "hunter2"}, "a": 1}', "hunter2"),
    Secret("json cut off", '{"a": 1, "client_secret": "hunter2', "hunter2"),
    Secret("python repr", "{'user': 'bob', 'passwd': 'hunter2'}", "hunter2"),
    Secret("yaml", "password: hunter2\nuser: bob", "hunter2"),
    Secret("assignment", 'export DB_PASSWORD="correct horse battery"', "correct horse battery"),
    Secret("source code", "const apiKey = 'hunter2hunter2';", "hunter2hunter2"),
    Secret("yaml quoted", "password: 'hunter2'", "hunter2"),
    Secret("yaml key", 'api_key: "swordfish"', "swordfish"),
    Secret("xml", "<login><user>bob</user><password>hunter2</password></login>", "hunter2"),
    Secret("header dump", "GET / HTTP/1.1\r\nHost: x\r\nX-Api-Key: hunter2\r\nAccept: */*", "hunter2"),
    Secret("cookie header", "GET / HTTP/1.1\r\nCookie: sid=hunter2; theme=dark\r\nAccept: */*", "hunter2"),
    Secret("set-cookie header", "Set-Cookie: sid=hunter2; Path=/; HttpOnly", "hunter2"),
    Secret("curl", "curl -H 'Authorization: Bearer hunter2' -H 'x-functions-key: hunter2' https://x.com", "hunter2"),
    Secret("cookie header in a line", "it sent Cookie: sid=hunter2x1 and failed", "hunter2x1"),
    Secret("cookie header of two", "Cookie: a=b1; theme=dark", "a=b1"),
    Secret("cookie header of curl", "curl -H 'Cookie: lang=hej' https://x.com", "lang=hej"),
    Secret("password option", "mysqldump --password hunter2secret1 logos", "hunter2secret1"),
    Secret("password option without digits", "sqlcmd --password 'p@ss!word' -d logos", "p@ss!word"),
    Secret("token option", "gh auth --token abc123def", "abc123def"),
    Secret("key option", "deploy --api-key zq12ab3 --verbose", "zq12ab3"),
    Secret("key option with a sign", "deploy --api-key=zqzq", "zqzq"),
    Secret("numeric option", "unlock --secret 9182736450", "9182736450"),
    Secret("user option", "curl -u bob:hunter2 https://x.com", "hunter2"),
    Secret("long user option", "wget --user=bob:hunter2 https://x.com", "hunter2"),
    Secret("har", '{"name":"Authorization","value":"hunter2"}', "hunter2"),
)

SECRET_NAMES: tuple[str, ...] = (
    "authorization",
    "Authorization",
    "Proxy-Authorization",
    "cookie",
    "Set-Cookie",
    "X-Api-Key",
    "x-functions-key",
    "api-key",
    "api_key",
    "apiKey",
    "OPENAI_API_KEY",
    "password",
    "dbPassword",
    "passwd",
    "secret",
    "clientSecret",
    "client_secret",
    "token",
    "X-Auth-Token",
    "access_token",
    "refreshToken",
    "connectionString",
    "azureStorageAccountKey",
    "account-key",
    "privateKey",
    "AWS_SECRET_ACCESS_KEY",
    "SharedAccessKey",
    "Ocp-Apim-Subscription-Key",
    "x-amz-security-token",
)

_PIXEL = "data:image/png;base64," + base64.b64encode(_random.randbytes(70)).decode()
_IMAGE = base64.b64encode(_random.randbytes(6_000)).decode()

LOOKALIKES: tuple[str, ...] = (
    # prose
    "a token ring network drawn as a golden ring",
    "the secret: a garden behind ivy walls",
    "key: warm colours, soft light",
    "A secret garden with a hidden key, password protected door, token of love",
    "logo for a password manager: a lock, a key, a shield",
    "password: the movie poster",
    "a door with the password: 'swordfish' above it",
    "token: ERC-721 collectible style",
    "secret: 1920s-style speakeasy",
    "access token: the game",
    "minimal logo, key=value store",
    "bearer of the ring, oil painting",
    "Bearer bonds from the 1920s, engraved",
    "standard bearer 19th-century-uniform",
    "Basic shapes, flat design",
    "basic illustration of a typewriter",
    "basic authentication explained to children",
    "a sk-8 skateboard sticker",
    "sk-learn-inspired-clustering-diagram-poster",
    "risk-free investment, task-oriented, desk-bound",
    "xoxo-love-and-kisses-2024",
    "whsec is no word",
    "cookie: a chocolate chip, macro photo",
    "Cookies and tokens; secrets and keys",
    "cookie: chocolate=yes",
    "cookie: size=3cm, round",
    "shape: round\ncookie: filling=jam\ncolour: red",
    "authorization: required by the king",
    "--password required to enter the speakeasy",
    "--token 3d --secret 1920s-style --ar 16:9",
    "--max-token 4096",
    "login --password $DB_PASSWORD1 --token ${TOKEN_2}",
    "docker run -u 1000:1000 ubuntu:22.04",
    "sudo -u postgres:postgres psql",
    "a sign that says code: 42",
    "Morse code = dots and dashes",
    "secret = love",
    "code in prose: print('hello'), then return code 0",
    "the key is under the mat; the code is 1234",
    "my password is a long story",
    "signature: hand-drawn, looping",
    'the word "token" in neon letters',
    'a poster: "secret" and "key", side by side',
    "octane render, 8k, trending on artstation, --ar 16:9 --seed 1234567890 --v 5.2",
    "-----BEGIN PRIVATE KEY----- a hacker themed poster",
    "ratio 3:2, token: gold, secret: silver, password: bronze",
    "Ключ и секрет: тайный сад, токен",
    "秘密の鍵 token ring",
    # code
    "input[type=password]:focus { color: #ff00aa; }",
    ".token:nth-child(2n+1)::after { content: 'x'; }",
    "--token-color: #a1b2c3d4;",
    "const token = await getToken(user);",
    "if (token == null || secret === undefined) { return; }",
    "tokens.map(token => token.length)",
    "let password = req.body.password;",
    "password=${DB_PASSWORD}",
    "token={token}; x=1",
    "apiKey: process.env.API_KEY,",
    "password: string; token?: string;",
    "password=********",
    '<input type="password" name="password" autocomplete="new-password">',
    "for key, value in items: total += len(key)",
    "max_tokens: 4096, total_tokens: 128",
    '{"maxTokens":4096,"totalTokens":12,"tokenCount":3,"secretary":"bob"}',
    '{"key":"Enter","code":"KeyA","type":"password"}',
    '{"password":null,"token":""}',
    # identifiers and digests
    "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "018f3f6e-7b1c-7a2b-8c3d-4e5f60718293",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha512-" + base64.b64encode(_random.randbytes(64)).decode(),
    'W/"33a64df551425fcc55e4d42a148795d9f25f89d4"',
    '"d41d8cd98f00b204e9800998ecf8427e"',
    "session-2024-01-01T12:00:00.000Z-00042",
    "0x34ede65503f0036",
    "seed 3201881617",
    "pk_live_is_publishable",
    # images and files
    _PIXEL,
    "data:image/png;base64," + _IMAGE,
    _IMAGE,
    "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'></svg>",
    "/home/site/wwwroot/secret/token.py",
    "C:\\Users\\bob\\keys\\password.txt",
    "a_secret_key_and_a_token_-n_9_-i_-S_556046175_ts-1660001285_idx-4.png",
    "private_key: ./certs/server1.pem",
    # URLs and addresses
    "https://example.com/?keyword=logo&codec=h264&monkey=1&design=2",
    "https://example.com/token/secret/key?page=2&sort=-created",
    "http://www.google.com/url?sa=t&rct=j&q=&esrc=s&source=web&cd=1&ved=0CC4QFjAA&usg=AFQjCNFg",
    "http://localhost:8080/path@2x.png",
    "ssh://git@github.com/owner/repo.git",
    "https://user@dev.azure.com/org",
    "postgresql://db.example.com:5432/logos?sslmode=require",
    "http://[2001:db8::1]:8080/x",
    "https://example.com/a?email=bob@example.com",
    "bob+token@example.com, key@example.org",
    "192.0.2.1 and 2001:db8::1 were seen",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77",
    "stable-diffusion-v1.3",
    "no-cache, max-age=31536000, must-revalidate",
    "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
    "Traceback: KeyError: 'token' in line 12",
    "401 Unauthorized: token expired",
    "Bearer token missing or malformed",
    "invalid_grant: AADSTS7000215: Invalid client secret provided",
    "Content-Type: application/json; charset=utf-8",
)

PLAIN_NAMES: tuple[str, ...] = (
    "maxTokens",
    "totalTokens",
    "tokenCount",
    "token_type",
    "tokenizer",
    "secretary",
    "keyboard",
    "key",
    "code",
    "passwordless",
    "cookiePolicy",
    "authorizationType",
    "publicKey",
    "primaryKey",
    "signatureStyle",
)
