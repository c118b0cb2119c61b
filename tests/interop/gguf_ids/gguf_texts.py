"""Two hundred and forty texts, the same in every run, in which tokenizers have been seen to differ."""
# ruff: noqa: RUF001 (characters that look alike are the point)

import random

COUNT = 240
PLAIN = (
    "",
    " ",
    "a",
    "\n",
    "\t\t",
    "The fox sat down.",
    "  Two spaces, 12345 and 3.14!\nA new line\tand a tab.   ",
    "I'll say: DON'T, they'VE, WE'RE, he'd, 'tis, o'clock '' 's 'S",
    "1234567890 1 22 333 4444 ½ ² ٣٤٥ 一二三 Ⅷ ১২৩ 1,000,000.00",
    "Łódź, naïve café, Straße, Ærø, São Paulo, Ünïcödé",
    "Привет, мир! Съешь же ещё этих мягких французских булок",
    "Η ταχεία αλεπού. Τι κάνεις;",
    "你好，世界。今天天气很好！这是一个测试",
    "日本語のテキストとカタカナ、漢字。",
    "한국어 문장입니다. 안녕하세요!",
    "مرحبا بالعالم، كيف حالك؟",
    "שלום עולם",
    "नमस्ते दुनिया, यह एक परीक्षण है।",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง",
    "Việt Nam: tiếng Việt có dấu",
    "e\u0301 A\u030a \ufb01 \u1e9b\u0323 한 (decomposed)",
    "🦊🙂👩‍👩‍👧‍👦🏳️‍🌈 flags 🇵🇱🇩🇪 keycap 1️⃣ skin 👍🏽",
    "def f(x: int) -> str:\n    return f'{x!r}'  # comment\n\n\nclass A:\n\tpass\n",
    "for (int i = 0; i < n; ++i) { a[i] <<= 2; } // 0xFF && !b || c == NULL",
    '{"key": [1, 2.5e-3, null, true], "a": {"b": "\\u00e9\\n"}}',
    "<html><body class='x'>&amp; &lt;b&gt;</body></html>",
    "https://example.org/path?q=1&r=%20#fragment user@example.org",
    "C:\\Users\\fox\\file.txt ~/.config $HOME ${x}",
    "\r\n\r\nWindows lines\r\n\r\n  indented\r\n",
    " leading", "trailing ", "   many   inner   spaces   ", "\n\n\nlines\n\n\n", " \n \n ", "\t \t x",
    "no-break\u00a0space thin\u2009space ideographic\u3000space line\u2028sep para\u2029sep zero\u200bwidth \ufeffbom",
    "\u2581under\u2581bars\u2581 \u2581", "Ġnot Ċ bytes",
    "ALL CAPS AND MiXeD cAsE, snake_case camelCase kebab-case",
    "... --- *** ### !!! ??? ~~~ === $$$ %%% ^^^ &&& (((", "“quotes” ‘single’ «guillemets» … — – •",
    "∑∫√∞≠≤≥ αβγ x² + y² = z²", "a" * 70, "ab" * 40, "!" * 33, " " * 37, "\n" * 21, "0" * 20,
    "supercalifragilisticexpialidocious Donaudampfschifffahrtsgesellschaft",
    "\x00\x01\x1f\x7f control \x85 next", "\U0001f9ff\U00010348\U000e0001\U0010ffff\ud7ff\ue000",
)  # fmt: skip
CONTROL = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<0x0A>",
    "<0xE2>", "<start_of_turn>", "<end_of_turn>", "<|eot_id|>", "<|begin_of_text|>", "<|end|>", "<|im_", "start|>",
    "[INST]", "[/INST]", "<|", "|>", "<unused0>", "<think>", "</think>",
)  # fmt: skip
"""Names of control tokens, some of which a vocabulary has, and parts of such."""
_FRAGMENTS = (
    *(
        "a",
        "the",
        "fox",
        "The",
        "ing",
        "x1",
        "ß",
        "é",
        "ж",
        "中",
        "한",
        "ก",
        "ع",
        "🦊",
        "👍🏽",
        "١",
        "½",
        "\u0301",
    ),
    *(
        " ",
        "  ",
        "   ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "\u00a0",
        "\u3000",
        "'s",
        "'LL",
        "'",
        '"',
        ".",
        ",",
        "!?",
        "--",
    ),
    *(
        "12",
        "3",
        "4567",
        "_",
        "(",
        ")",
        "{",
        "}",
        "\\",
        "/",
        "<",
        ">",
        "\u2581",
        "\u200d",
        "\ufe0f",
        "\x00",
        "\x85",
    ),
)


def texts() -> list[str]:
    """All texts: plain ones, ones around control tokens' names, and random ones."""
    chance = random.Random(14)
    around = [form.format(name) for name in CONTROL for form in ("{0}", "user {0} text{0}\n {0} ")]
    found = [*PLAIN, *around]
    while len(found) < COUNT:
        parts = [*_FRAGMENTS, *CONTROL] if len(found) % 2 else _FRAGMENTS
        found.append("".join(chance.choices(parts, k=chance.randint(1, 40))))
    return found
