#include "supervisor/trickle_lex.h"

#include "stage/mem.h"
#include "stage/number.h"
#include "stage/utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Text that grows by a byte at a time. */
struct text {
	char *bytes; /* owned */
	size_t count, room;
};

static void
put(struct text *text, char byte)
{
	if (text->count == text->room) {
		text->room = text->room == 0 ? 32 : 2 * text->room;
		text->bytes = mem_realloc(text->bytes, text->room, 1);
	}
	text->bytes[text->count++] = byte;
}

static void
put_character(struct text *text, uint32_t code)
{
	uint8_t bytes[4];
	size_t count = utf8_put(bytes, code);

	for (size_t i = 0; i < count; i++)
		put(text, (char)bytes[i]);
}

/* Returns the value of a hexadecimal digit. */
static uint8_t
value_of(uint8_t digit)
{
	return isdigit(digit) ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

bool
trickle_lex_is_word(const char *text)
{
	static const char *const words[] = {"absent", "and", "args", "as", "by",
	    "case", "const", "copy", "create", "default", "define", "drop",
	    "each", "emit", "end", "erase", "event", "false", "fn", "for",
	    "from", "group", "having", "insert", "intrinsic", "into", "let",
	    "match", "merge", "mod", "move", "not", "null", "of", "operator",
	    "or", "order", "patch", "present", "recur", "script", "select",
	    "set", "sliding", "state", "stream", "true", "tumbling", "update",
	    "upsert", "use", "when", "where", "window", "with", "xor"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i], text) == 0)
			return true;
	return false;
}

void
trickle_lex_init(struct trickle_lexer *lexer, const char *name,
    const uint8_t *in, size_t in_bytes, struct faults *faults)
{
	*lexer = (struct trickle_lexer){
	    .in = in,
	    .in_bytes = in_bytes,
	    .place = {.file = name, .line = 1, .column = 1},
	    .faults = faults,
	};
}

/* Returns the byte `ahead` of the next one; 0 behind the end. */
static uint8_t
peek(const struct trickle_lexer *lexer, size_t ahead)
{
	size_t left = lexer->in_bytes - lexer->at;

	return ahead < left ? lexer->in[lexer->at + ahead] : 0;
}

static bool
is_next(const struct trickle_lexer *lexer, const char *text)
{
	size_t bytes = strlen(text);

	return bytes <= lexer->in_bytes - lexer->at &&
	       memcmp(lexer->in + lexer->at, text, bytes) == 0;
}

/* Goes on by one byte, and counts lines and characters. */
static void
advance(struct trickle_lexer *lexer)
{
	uint8_t byte = lexer->in[lexer->at++];

	if (byte == '\n') {
		lexer->place.line++;
		lexer->place.column = 1;
	} else if ((peek(lexer, 0) & 0xc0) != 0x80) {
		lexer->place.column++;
	}
}

static void
advance_by(struct trickle_lexer *lexer, size_t bytes)
{
	while (bytes-- > 0)
		advance(lexer);
}

static bool
is_name_byte(uint8_t byte)
{
	return isalnum(byte) || byte == '_' || byte == '-';
}

/* Refuses "#!", which is no comment; true if it stands there. */
static bool
refuse_directive(struct trickle_lexer *lexer)
{
	const char *start = (const char *)lexer->in + lexer->at;
	size_t bytes = 2;

	if (!is_next(lexer, "#!"))
		return false;
	while (is_name_byte(peek(lexer, bytes)))
		bytes++;
	faults_add(lexer->faults, &lexer->place, "\"%.*s\" is not supported",
	    (int)(bytes < 64 ? bytes : 64), start);
	return true;
}

/* Skips white space and comments; -1: a fault was added. */
static int
skip_space(struct trickle_lexer *lexer)
{
	while (lexer->at < lexer->in_bytes) {
		if (isspace(peek(lexer, 0))) {
			advance(lexer);
			continue;
		}
		if (peek(lexer, 0) != '#')
			break;
		if (refuse_directive(lexer))
			return -1;
		while (lexer->at < lexer->in_bytes && peek(lexer, 0) != '\n')
			advance(lexer);
	}
	return 0;
}

/* Takes a name; one in backticks is never a reserved word. */
static int
take_name(struct trickle_lexer *lexer, struct trickle_token *token)
{
	bool is_quoted = peek(lexer, 0) == '`';
	const char *start;
	size_t bytes = 0;

	if (is_quoted)
		advance(lexer);
	start = (const char *)lexer->in + lexer->at;
	while (is_name_byte(peek(lexer, bytes)))
		bytes++;
	if (is_quoted && (bytes == 0 || peek(lexer, bytes) != '`')) {
		faults_add(lexer->faults, &token->place,
		    "a name in backticks has letters, digits, \"_\" and \"-\", "
		    "and ends with a backtick");
		return -1;
	}
	token->text = mem_strndup(start, bytes);
	advance_by(lexer, bytes + (is_quoted ? 1 : 0));
	token->kind = !is_quoted && trickle_lex_is_word(token->text)
			  ? TRICKLE_WORD
			  : TRICKLE_NAME;
	return 0;
}

/* Appends the digits that are next, without the "_" between them. */
static void
take_digits(struct trickle_lexer *lexer, struct text *text)
{
	while (isdigit(peek(lexer, 0)) || peek(lexer, 0) == '_') {
		if (peek(lexer, 0) != '_')
			put(text, (char)peek(lexer, 0));
		advance(lexer);
	}
}

/* Appends fraction and exponent; true if there was one of them. */
static bool
take_decimals(struct trickle_lexer *lexer, struct text *text)
{
	bool is_float = peek(lexer, 0) == '.' && isdigit(peek(lexer, 1));
	size_t sign;

	if (is_float) {
		put(text, '.');
		advance(lexer);
		take_digits(lexer, text);
	}
	sign = peek(lexer, 1) == '+' || peek(lexer, 1) == '-' ? 2 : 1;
	if ((peek(lexer, 0) | 0x20) != 'e' || !isdigit(peek(lexer, sign)))
		return is_float;
	for (size_t i = 0; i < sign; i++) {
		put(text, (char)peek(lexer, 0));
		advance(lexer);
	}
	take_digits(lexer, text);
	return true;
}

/* Takes what follows "0x"; returns the number in decimal, or NULL. */
static char *
take_hexadecimal(struct trickle_lexer *lexer)
{
	uint64_t value = 0;
	bool has_digit = false;

	for (; isxdigit(peek(lexer, 0)) || peek(lexer, 0) == '_';
	     advance(lexer)) {
		uint8_t digit = peek(lexer, 0);

		if (digit == '_')
			continue;
		if (value >> 60 != 0)
			return NULL;
		value = value << 4 | value_of(digit);
		has_digit = true;
	}
	return has_digit ? mem_printf("%" PRIu64, value) : NULL;
}

/* Takes digits and what belongs to them, as JSON has numbers: without zeros in
 * front. Returns NULL if it is out of range. */
static char *
take_decimal(struct trickle_lexer *lexer, enum trickle_kind *kind)
{
	struct text text = {0};
	const char *start;
	uint64_t ignored;
	bool is_good;
	char *number;

	take_digits(lexer, &text);
	*kind = take_decimals(lexer, &text) ? TRICKLE_FLOAT : TRICKLE_INTEGER;
	put(&text, '\0');
	start = text.bytes;
	while (start[0] == '0' && isdigit((unsigned char)start[1]))
		start++;
	is_good = *kind == TRICKLE_FLOAT
		      ? isfinite(strtod(start, NULL))
		      : number_parse(start, 0, UINT64_MAX, &ignored) == 0;
	number = is_good ? mem_strdup(start) : NULL;
	free(text.bytes);
	return number;
}

static int
take_number(struct trickle_lexer *lexer, struct trickle_token *token)
{
	token->kind = TRICKLE_INTEGER;
	if (is_next(lexer, "0x")) {
		advance_by(lexer, 2);
		token->text = take_hexadecimal(lexer);
	} else {
		token->text = take_decimal(lexer, &token->kind);
	}
	/* A "-" is what the language takes it for, and refused as that. */
	if (token->text != NULL && peek(lexer, 0) != '.' &&
	    (peek(lexer, 0) == '-' || !is_name_byte(peek(lexer, 0))))
		return 0;
	faults_add(lexer->faults, &token->place,
	    token->text == NULL ? "the number has no digits or is too large"
				: "the number does not end here as one does");
	return -1;
}

/* Replaces the four digits behind "\u" by their character; -1: they are none.
 */
static int
take_code(struct trickle_lexer *lexer, struct text *text)
{
	uint32_t code = 0;

	for (int i = 0; i < 4; i++) {
		uint8_t digit = peek(lexer, 0);

		if (!isxdigit(digit))
			return -1;
		code = code << 4 | value_of(digit);
		advance(lexer);
	}
	/* Half a character is none; a NUL is no text to C programs. */
	if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
		return -1;
	put_character(text, code);
	return 0;
}

/* Takes a backslash and what belongs to it; -1: a fault was added. */
static int
take_escape(struct trickle_lexer *lexer, struct text *text)
{
	static const char names[] = "'\"\\/{}#bfnrt";
	static const char means[] = "'\"\\/{}#\b\f\n\r\t";
	struct place place = lexer->place;
	const char *name;

	advance(lexer);
	name = peek(lexer, 0) == 0 ? NULL : strchr(names, peek(lexer, 0));
	if (name != NULL) {
		put(text, means[name - names]);
		advance(lexer);
		return 0;
	}
	if (peek(lexer, 0) == 'u') {
		advance(lexer);
		if (take_code(lexer, text) == 0)
			return 0;
	}
	faults_add(lexer->faults, &place,
	    "the escape is unknown; known: \\\" \\' \\\\ \\/ \\{ \\} \\# \\b "
	    "\\f \\n \\r \\t and \\uXXXX for one character");
	return -1;
}

static const char placeholder_fault[] =
    "a string with \"${\" cannot be expressed: it would be a placeholder";

/* Says what is wrong with the next bytes within a string, or NULL. */
static const char *
inside_fault(const struct trickle_lexer *lexer)
{
	if (is_next(lexer, "${"))
		return placeholder_fault;
	if (is_next(lexer, "#{"))
		return "string interpolation (\"#{...}\") is not supported";
	/* The language has had both forms. */
	if (is_next(lexer, "{") && !is_next(lexer, "{}"))
		return "string interpolation (\"{...}\") is not supported; "
		       "write \\{ for a brace";
	return NULL;
}

/* Takes all up to the quote at the end; -1: a fault was added. */
static int
take_inside(
    struct trickle_lexer *lexer, const struct place *start, struct text *text)
{
	while (peek(lexer, 0) != '"') {
		const char *why = inside_fault(lexer);

		if (lexer->at == lexer->in_bytes || peek(lexer, 0) == '\n') {
			faults_add(lexer->faults, start,
			    "the string does not end in its line");
			return -1;
		}
		if (why != NULL) {
			faults_add(lexer->faults, &lexer->place, "%s", why);
			return -1;
		}
		if (peek(lexer, 0) == '\\') {
			if (take_escape(lexer, text) == -1)
				return -1;
			continue;
		}
		/* Both braces of an empty pair stand for themselves. */
		if (is_next(lexer, "{}")) {
			put(text, '{');
			advance(lexer);
		}
		put(text, (char)peek(lexer, 0));
		advance(lexer);
	}
	put(text, '\0');
	if (strstr(text->bytes, "${") == NULL)
		return 0;
	faults_add(lexer->faults, start, "%s", placeholder_fault);
	return -1;
}

static int
take_string(struct trickle_lexer *lexer, struct trickle_token *token)
{
	struct text text = {0};

	if (is_next(lexer, "\"\"\"")) {
		faults_add(lexer->faults, &token->place,
		    "a heredoc (\"\"\"...\"\"\") is not supported");
		return -1;
	}
	advance(lexer);
	if (take_inside(lexer, &token->place, &text) == -1) {
		free(text.bytes);
		return -1;
	}
	advance(lexer);
	token->kind = TRICKLE_STRING;
	token->text = text.bytes;
	return 0;
}

static int
take_symbol(struct trickle_lexer *lexer, struct trickle_token *token)
{
	/* The longest first. */
	static const char *const symbols[] = {">>>", "...", "::", "=>",
	    "==", "!=", ">=", "<=", "~=", "<<", ">>", "%{", "%[", "%(", ",",
	    ";", "(", ")", "[", "]", "{", "}", "=", ":", ".", "$", "+", "-",
	    "*", "/", "%", "&", "^", "|", "!", "~", "<", ">"};

	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		if (!is_next(lexer, symbols[i]))
			continue;
		token->kind = TRICKLE_SYMBOL;
		token->text = mem_strdup(symbols[i]);
		advance_by(lexer, strlen(symbols[i]));
		return 0;
	}
	faults_add(lexer->faults, &lexer->place,
	    "this character stands in strings and comments only");
	return -1;
}

int
trickle_lex_next(struct trickle_lexer *lexer, struct trickle_token *token)
{
	if (skip_space(lexer) == -1)
		return -1;
	*token = (struct trickle_token){.place = lexer->place};
	if (lexer->at == lexer->in_bytes) {
		token->text = mem_strdup("");
		return 0;
	}
	if (isdigit(peek(lexer, 0))) {
		if (take_number(lexer, token) == 0)
			return 0;
		free(token->text);
		return -1;
	}
	if (peek(lexer, 0) == '"')
		return take_string(lexer, token);
	if (peek(lexer, 0) == '`' || peek(lexer, 0) == '_' ||
	    isalpha(peek(lexer, 0)))
		return take_name(lexer, token);
	return take_symbol(lexer, token);
}
