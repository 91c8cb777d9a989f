{# A condition over the table as a whole. #}
{% test holds_for_all(model, expression) %}
select 1 from {{ model }} having not ({{ expression }})
{% endtest %}
