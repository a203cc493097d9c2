#include "wssink/secret.h"

#include <openssl/crypto.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void
secret_free(char *text)
{
	if (text != NULL)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

static void
hide(char *from, const char *to)
{
	memset(from, '*', (size_t)(to - from));
}

void
secret_hide(char *text)
{
	hide(text, text + strlen(text));
}

void
secret_hide_user(char *url)
{
	char *scheme_end = strstr(url, "://");
	char *host = scheme_end == NULL ? url : scheme_end + strlen("://");
	char *at = NULL;

	for (char *p = host; *p != '\0' && strchr("/?#", *p) == NULL; p++)
		if (*p == '@')
			at = p;
	if (at != NULL)
		hide(host, at);
}

void
secret_hide_header(char *header)
{
	static const char *const names[] = {
	    "Authorization:", "Proxy-Authorization:", "Cookie:"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t n = strlen(names[i]);

		if (strncasecmp(header, names[i], n) == 0)
			secret_hide(header + n);
	}
}
