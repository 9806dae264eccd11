"""Texts that break tokenizers: scripts, digits, cases, white space, emoji, code."""

TEXT = """Hello World, it's 'Twas the I'LL we've DON'T y'all's café naïve Ünïcödé ÉCOLE École CamelCase HTTPServer
  indented\n\n\n\tdef f(x):\n\t\treturn x**2 + 3.14159  # comment!!\r\n\
    if a == b and c != 'd': print(f"{a:>10}")\n   \n
X-Ray
1234567 12,345.67 3rd 0x1F ²³ ½ ٣٤٥ १२३४ 1 22 333 4444 55555
нещо на Български язык, Привет мир! ΑΒΓ αβγδε Ελληνικά
日本語のテキスト、漢字とカタカナ。我想在apple工作1314151天～ 中文标点：“引号”！
한국어 텍스트 입니다. ㄱㄴㄷ العربية النص، مع علامات؟ עברית ไทยข้อความ
हिन्दी में पाठ កាន់តែ e\u0301 a\u0308
🚀 (normal) 😶‍🌫️ emoji ✅ 🤦🏼‍♂️ \u00a0nbsp \u2003em
\u3000wide <tag attr="v"/> a/b//c\\d $100 €50 +=-*/ ~~^^ ``code`` _under_score_ [x](y) @user #hash 50% a.b.c ... --- ——
"""
LINES = [line for line in TEXT.split("\n") if line]
