#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# One signed request to an S3 server, by a second implementation of the signature: s3_request.py CREDENTIALS METHOD URL [BODY-FILE]
import configparser, datetime, hashlib, hmac, sys, urllib.error, urllib.parse, urllib.request

credentials, method, url = sys.argv[1:4]
body = open(sys.argv[4], "rb").read() if len(sys.argv) > 4 else b""
profile = configparser.ConfigParser(interpolation=None)
profile.read(credentials)
key, secret = (profile["default"][name] for name in ("aws_access_key_id", "aws_secret_access_key"))
parts = urllib.parse.urlsplit(url)
now = datetime.datetime.utcnow().strftime("%Y%m%dT%H%M%SZ")
digest = hashlib.sha256(body).hexdigest()
headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": now}
names = ";".join(sorted(headers))
canonical = "\n".join([method, parts.path, parts.query, "".join(f"{n}:{headers[n]}\n" for n in sorted(headers)), names, digest])
scope = f"{now[:8]}/us-east-1/s3/aws4_request"
text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
signing = ("AWS4" + secret).encode()
for part in scope.split("/"):
    signing = hmac.new(signing, part.encode(), "sha256").digest()
signature = hmac.new(signing, text.encode(), "sha256").hexdigest()
headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
request = urllib.request.Request(url, data=body if method == "PUT" else None, method=method, headers=headers)
try:
    sys.stdout.buffer.write(urllib.request.urlopen(request, timeout=10).read())
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"{method} {url}: {error}")
