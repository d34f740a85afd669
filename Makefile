lock:
	uv export -q --no-emit-project --no-annotate --no-header -o requirements.lock >/dev/null
	uv export -q --no-emit-project --no-annotate --no-header --extra test -o requirements-test.lock >/dev/null
	printf 'swift==2.38.0\nsetuptools<81\n' | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header - -o requirements-s3.lock >/dev/null
