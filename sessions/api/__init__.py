"""The API, ``/api/v1/``: what the pages do, for programs, through the same services. How to add an endpoint:

1. A module per thing (``volumes.py``) with its serializers, examples and views. A view is a subclass of ``views.View``, or of
   ``views.WorkspaceView`` for what is below ``/workspaces/{workspace}``: then ``self.membership`` and ``self.workspace`` are
   set, and non-members and tokens that don't reach the workspace have got their 404.
2. Every method is declared with ``@operation`` (``operations.Operation`` says what each word means): id (``volumes_create``),
   scopes (any one of them suffices for a token; a write scope also opens reading what it writes), body, answer, examples. The
   request is checked by that declaration before the method runs (``self.query``, ``self.body``), and the OpenAPI schema, the
   scope matrix and the examples' test are made of it. Nothing is documented a second time; the docstring is the description.
3. Shapes (``serializers``): ``Body`` for JSON that comes in, ``Query`` for parameters, ``Thing`` for an answer that ``?fields=``
   may narrow, ``Answer`` for any other. They check shape only: no rule, no permission. Text is ``Text``, a boolean ``Flag``, a
   time ``Time``, money ``Money``. Each field that is withheld from an answer has its reason in the serializer's docstring.
4. The method calls a service and answers: ``self.answer(thing, location=…)``, ``self.page(queryset)`` or ``self.done()``.
   ``Refused`` and ``Forbidden`` go through: they become 422 and 403 with the service's own sentences (declare
   ``refusals=("refused", "forbidden")``). The API's own errors are ``problems.ProblemError`` with a code of ``problems.KINDS``.
5. Creates say ``creates=True`` (Idempotency-Key). Writes to one thing say ``conditional=True`` and do it inside
   ``with self.unchanged(rows) as row:``; the view's ``represented_by`` is what its ETag is made of, so GET says ``tagged=True``
   and answers with that serializer.
6. Its address goes into ``urls.py``, named without a verb (``api:volume``); things are named by name, never by a database id.
7. Tests in ``tests/api``: query counts of lists with ``django_assert_max_num_queries``; ``tests/api/test_schema.py`` and the
   scope matrix cover the rest, and fail on an operation that they have no world for.
"""
