/*
 * Error codes of the library: 0 is success, failure is a negative number. Numbers that errno has
 * are used as they are (-ENOMEM); the project's own start behind errno's range.
 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

enum err {
	ERR_OK = 0,
	ERR_FIRST_OWN = 4096,
	ERR_CONFIG =
		ERR_FIRST_OWN, /* a configuration was refused; the message was given beside it */
	ERR_KEY,	       /* a key is unusable (wrong length, weak) */
	ERR_CLOSED,	       /* the conversation is closed */
	ERR_PROTOCOL,	       /* the other side of a control connection broke the protocol */
	ERR_END_OWN,
};

/**
 * @code    0 or a negative errno or enum err value; other values are described as unknown
 * @return  a static English description, never NULL
 */
const char *err_str(int code);

#endif
