"""Generate random secrets in the formats that issuers document, each in a sentence. None of them is
valid.
"""

import random
import string

HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + "234567"
MIXED = string.ascii_letters + string.digits
WEB = MIXED + "-_"
SENTENCES = (
    "hi, my export stopped working after I changed {}, can you look?",
    "I pasted {} into the form and it said unauthorised",
    "The deploy log of last night shows {}\nand then nothing.",
    "please revoke {} - a colleague has mailed it to a customer",
    "Config of the old box: host=db1 {} retries=3",
)
"""Free text around the secret."""
FORMS: dict[str, tuple[tuple[str, int] | str, ...]] = {
    "AWS access key": ("AKIA", (UPPER, 16)),
    "AWS secret key": ("aws_secret_access_key = ", (MIXED + "/+", 40)),
    "GitHub token": ("ghp_", (MIXED, 36)),
    "GitHub fine-grained token": ("github_pat_", (MIXED, 22), "_", (MIXED, 59)),
    "GitLab token": ("glpat-", (WEB, 20)),
    "Slack bot token": ("xoxb-", ("123456789", 12), "-", ("123456789", 12), "-", (MIXED, 24)),
    "Slack webhook": (
        "https://hooks.slack.com/services/T",
        (UPPER, 8),
        "/B",
        (UPPER, 8),
        "/",
        (MIXED, 24),
    ),
    "Stripe live key": ("sk_live_", (MIXED, 24)),
    "Stripe restricted key": ("rk_live_", (MIXED, 24)),
    "OpenAI project key": ("sk-proj-", (WEB, 48), (MIXED, 1)),
    "OpenAI key": ("sk-", (MIXED, 20), "T3BlbkFJ", (MIXED, 20)),
    "Anthropic key": ("sk-ant-api03-", (WEB, 93), "AA"),
    "Google API key": ("AIza", (MIXED, 35)),
    "Google OAuth secret": ("GOCSPX-", (MIXED, 28)),
    "Hugging Face token": ("hf_", (MIXED, 34)),
    "npm token": ("npm_", (MIXED, 36)),
    "PyPI token": ("pypi-AgEIcHlwaS5vcmc", (WEB, 79), (MIXED, 1)),
    "SendGrid key": ("SG.", (WEB, 22), ".", (WEB, 42), (MIXED, 1)),
    "Twilio key": ("SK", (HEX, 32)),
    "Mailchimp key": ((HEX, 32), "-us12"),
    "Mailgun key": ("key-", (HEX, 32)),
    "Telegram bot token": (("123456789", 9), ":AA", (MIXED, 33)),
    "Discord bot token": ("M", (MIXED, 23), ".", (MIXED, 6), ".", (MIXED, 27)),
    "DigitalOcean token": ("dop_v1_", (HEX, 64)),
    "Shopify token": ("shpat_", (HEX, 32)),
    "Square secret": ("sq0csp-", (MIXED, 43)),
    "Databricks token": ("dapi", (HEX, 32)),
    "Vault token": ("hvs.", (MIXED, 24)),
    "Postman key": ("PMAK-", (HEX, 24), "-", (HEX, 34)),
    "New Relic key": ("NRAK-", (UPPER, 27)),
    "Docker token": ("dckr_pat_", (MIXED, 27)),
    "Azure storage key": ("AccountKey=", (MIXED + "+/", 86), "=="),
    "JSON Web Token": ("eyJ", (MIXED, 33), ".eyJ", (MIXED, 60), ".", (WEB, 42), (MIXED, 1)),
    "bearer token": ("Authorization: Bearer ", (MIXED, 40)),
    "Rails key": ("secret_key_base: ", (HEX, 128)),
    "Laravel key": ("APP_KEY=base64:", (MIXED + "+/", 43), "="),
    "password in an element": ("<User>jo</User><Pass>", (MIXED, 9), "4</Pass>"),
    "bcrypt hash": ("$2y$10$", (MIXED + "./", 53)),
    "SHA-512 hash of crypt": ("$6$rounds=5000$", (MIXED, 16), "$", (MIXED + "./", 86)),
    "labelled API key": ("api_key: ", (HEX, 32)),
    "labelled client secret": ("client_secret='", (MIXED, 32), "'"),
    "password in a URL": ("postgres://app:", (MIXED, 14), "@db.example.org:5432/main"),
    "password after its label": ("password: ", (MIXED, 9), "!7"),
    "password in a sentence": ("my password is ", (MIXED, 8), "#3x"),
    "PEM private key": ("-----BEGIN RSA PRIVATE KEY-----\n", (MIXED + "+/", 64), "\n"
    "-----END RSA PRIVATE KEY-----"),
    "OpenSSH private key": ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz", (MIXED, 62),
                            "\n-----END OPENSSH PRIVATE KEY-----"),
}  # fmt: skip
"""Format -> its parts: fixed text, or an alphabet and a number of characters."""


def plant_secrets(copies: int = 5, seed: int = 20261125) -> list[tuple[str, str, int, int]]:
    """Return each format in `copies` sentences: its name, the text, and start and end of the random
    part.
    """
    generator = random.Random(seed)
    rows = []
    for form, parts in FORMS.items():
        for sentence in SENTENCES[:copies]:
            pieces = [
                part if isinstance(part, str) else _sample_text(generator, *part) for part in parts
            ]
            secret = "".join(pieces)
            before = sentence.index("{}")
            random_parts = [
                number for number, part in enumerate(parts) if not isinstance(part, str)
            ]
            start = before + sum(map(len, pieces[: random_parts[0]]))
            end = before + sum(map(len, pieces[: random_parts[-1] + 1]))
            rows.append((form, sentence.format(secret), start, end))
    return rows


def _sample_text(generator: random.Random, alphabet: str, count: int) -> str:
    return "".join(generator.choices(alphabet, k=count))
