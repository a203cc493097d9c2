#include "supervisor/text.h"

#include "stage/json.h"
#include "stage/utf8.h"

#include <string.h>

void
text_skip_mark(const uint8_t **in, size_t *in_bytes)
{
	static const uint8_t mark[] = {0xef, 0xbb, 0xbf};

	if (*in_bytes < sizeof(mark) || memcmp(*in, mark, sizeof(mark)) != 0)
		return;
	*in += sizeof(mark);
	*in_bytes -= sizeof(mark);
}

/* Returns how many bytes the UTF-8 character at `p` has; 0: it is none. */
static size_t
character_bytes(const uint8_t *p, size_t left)
{
	return p[0] < 0x80 ? 1 : utf8_length(p, left);
}

struct place
text_place(const char *name, const uint8_t *in, size_t in_bytes, size_t offset)
{
	struct place place = {.file = name, .line = 1, .column = 1};
	size_t at = 0;

	while (at < offset && at < in_bytes) {
		size_t n = character_bytes(in + at, in_bytes - at);

		if (n == 0)
			break;
		if (in[at] == '\n') {
			place.line++;
			place.column = 1;
		} else {
			place.column++;
		}
		at += n;
	}
	return place;
}

int
text_check(
    const char *name, const uint8_t *in, size_t in_bytes, struct faults *faults)
{
	const uint8_t *nul = memchr(in, '\0', in_bytes);
	struct place place;

	if (!json_is_utf8(in, in_bytes)) {
		place = text_place(name, in, in_bytes, in_bytes);
		faults_add(faults, &place, "the file is not valid UTF-8 here");
		return -1;
	}
	if (nul != NULL) {
		place = text_place(name, in, in_bytes, (size_t)(nul - in));
		faults_add(faults, &place, "a NUL byte stands here");
		return -1;
	}
	return 0;
}
