{# An amount in euros, to the cent. #}
{% macro euros(amount, rate) -%}
cast({{ amount }} * {{ rate }} as decimal(14, 2))
{%- endmacro %}
