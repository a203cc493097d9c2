#include "stage/header.h"

#include <string.h>
#include <strings.h>

static bool
is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

bool
header_is_token(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (!is_token_char(text[i]))
			return false;
	return bytes > 0;
}

/* Says whether the handshake writes a header of this name itself. */
static bool
is_ours(const char *name, size_t bytes)
{
	static const char *const ours[] = {"Host", "Upgrade", "Connection",
	    "Content-Length", "Transfer-Encoding"};
	static const char prefix[] = "Sec-WebSocket-";

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strlen(ours[i]) == bytes &&
		    strncasecmp(name, ours[i], bytes) == 0)
			return true;
	return strncasecmp(name, prefix, strlen(prefix)) == 0;
}

const char *
header_fault(const char *header)
{
	size_t bytes = strcspn(header, ":");

	if (header[bytes] == '\0' || !header_is_token(header, bytes))
		return "not of the form 'Name: value'";
	for (const char *p = header + bytes; *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return "a control character in the value";
	}
	if (is_ours(header, bytes))
		return "the handshake writes this header itself";
	return NULL;
}
